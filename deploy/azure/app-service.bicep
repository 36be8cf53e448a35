// Azure App Service on Linux: the proxy is the main container and gets the traffic, the app is a sidecar
// beside it on localhost. Checked with a parser only: this template was never deployed.
//
//   az deployment group create --resource-group RG --template-file deploy/azure/app-service.bicep \
//     --parameters name=legacy planId=ID proxyImage=… appImage=… tenant=… clientId=… \
//     clientSecretUri=https://VAULT.vault.azure.net/secrets/client-secret \
//     sessionKeyUri=https://VAULT.vault.azure.net/secrets/session-key
//
// Then let the site's identity read both secrets ("Key Vault Secrets User"), restart the site, and register
// the redirect URI that the deployment prints. Leave App Service's own authentication off.

param name string
param location string = resourceGroup().location

@description('Resource id of a Linux App Service plan.')
param planId string

@description('This proxy, such as example.com/vestibule:0.1.0.')
param proxyImage string

@description('The legacy app.')
param appImage string

@description('The port on which the app listens, on 127.0.0.1 alone.')
param appPort int = 8080

@description('Directory (tenant) id or a domain of it.')
param tenant string

@description('Application (client) id.')
param clientId string

@description('The client secret in a Key Vault.')
param clientSecretUri string

@description('In a Key Vault: what `vestibule keygen` printed, as a list in TOML, ["KEY"].')
param sessionKeyUri string

@description('The origin that browsers see, if it is a domain of your own.')
param publicUrl string = 'https://${name}.azurewebsites.net'

// Each becomes an app setting of the same name, and a variable of the proxy's container alone.
var settings = {
  VESTIBULE__SERVER__PUBLIC_URL: publicUrl
  VESTIBULE__ENTRA__TENANT: tenant
  VESTIBULE__ENTRA__CLIENT_ID: clientId
  VESTIBULE__ENTRA__CLIENT_SECRET: '@Microsoft.KeyVault(SecretUri=${clientSecretUri})'
  VESTIBULE__UPSTREAM__URL: 'http://127.0.0.1:${appPort}'
}

resource site 'Microsoft.Web/sites@2024-11-01' = {
  name: name
  location: location
  kind: 'app,linux,container'
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    serverFarmId: planId
    httpsOnly: true
    clientAffinityEnabled: false
    siteConfig: {
      linuxFxVersion: 'sitecontainers'
      alwaysOn: true
      ftpsState: 'Disabled'
      minTlsVersion: '1.2'
      http20Enabled: true
      webSocketsEnabled: true
    }
  }
}

resource appSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: site
  name: 'appsettings'
  properties: union(settings, {
    VESTIBULE__SESSION__KEYS: '@Microsoft.KeyVault(SecretUri=${sessionKeyUri})'
    APP_BIND: '127.0.0.1'
    APP_PORT: string(appPort)
  })
}

resource proxy 'Microsoft.Web/sites/sitecontainers@2024-11-01' = {
  parent: site
  name: 'vestibule'
  properties: {
    image: proxyImage
    isMain: true
    targetPort: '4180'
    authType: 'Anonymous'
    // Else the app would be handed the client secret too.
    inheritAppSettingsAndConnectionStrings: false
    // A value is the name of an app setting.
    environmentVariables: [
      {
        name: 'VESTIBULE__SERVER__PUBLIC_URL'
        value: 'VESTIBULE__SERVER__PUBLIC_URL'
      }
      {
        name: 'VESTIBULE__ENTRA__TENANT'
        value: 'VESTIBULE__ENTRA__TENANT'
      }
      {
        name: 'VESTIBULE__ENTRA__CLIENT_ID'
        value: 'VESTIBULE__ENTRA__CLIENT_ID'
      }
      {
        name: 'VESTIBULE__ENTRA__CLIENT_SECRET'
        value: 'VESTIBULE__ENTRA__CLIENT_SECRET'
      }
      {
        name: 'VESTIBULE__SESSION__KEYS'
        value: 'VESTIBULE__SESSION__KEYS'
      }
      {
        name: 'VESTIBULE__UPSTREAM__URL'
        value: 'VESTIBULE__UPSTREAM__URL'
      }
    ]
  }
}

resource app 'Microsoft.Web/sites/sitecontainers@2024-11-01' = {
  parent: site
  name: 'app'
  properties: {
    image: appImage
    isMain: false
    authType: 'Anonymous'
    inheritAppSettingsAndConnectionStrings: false
    environmentVariables: [
      {
        name: 'BIND'
        value: 'APP_BIND'
      }
      {
        name: 'PORT'
        value: 'APP_PORT'
      }
    ]
  }
}

output redirectUri string = '${publicUrl}/.auth/login/aad/callback'
