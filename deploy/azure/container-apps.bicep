// Azure Container Apps: the proxy and the app as two containers of one revision, which share localhost.
// Checked with a parser only: this template was never deployed.
//
//   az deployment group create --resource-group RG --template-file deploy/azure/container-apps.bicep \
//     --parameters name=legacy environmentName=ENVIRONMENT proxyImage=… appImage=… tenant=… clientId=… \
//     clientSecret="$SECRET" sessionKeys="$(vestibule keygen)"
//
// Then register the redirect URI that the deployment prints. There is no preStop here: at the end of a
// replica both containers get SIGTERM at once, and the proxy finishes what is under way.

param name string
param location string = resourceGroup().location

@description('The Container Apps environment, in the same resource group.')
param environmentName string

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

@secure()
param clientSecret string

@description('What `vestibule keygen` prints. Every replica has the same.')
@secure()
param sessionKeys string

@description('The origin that browsers see, if it is a domain of your own.')
param publicUrl string = ''

resource environment 'Microsoft.App/managedEnvironments@2024-03-01' existing = {
  name: environmentName
}

var origin = empty(publicUrl) ? 'https://${name}.${environment.properties.defaultDomain}' : publicUrl

resource app 'Microsoft.App/containerApps@2024-03-01' = {
  name: name
  location: location
  properties: {
    environmentId: environment.id
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        // The proxy's. The app's port and the proxy's admin port are not published.
        targetPort: 4180
        transport: 'auto'
        allowInsecure: false
      }
      secrets: [
        {
          name: 'client-secret'
          value: clientSecret
        }
        {
          name: 'session-keys'
          value: sessionKeys
        }
      ]
    }
    template: {
      terminationGracePeriodSeconds: 60
      containers: [
        {
          name: 'vestibule'
          image: proxyImage
          args: [
            'run'
          ]
          resources: {
            cpu: json('0.25')
            memory: '0.5Gi'
          }
          env: [
            {
              name: 'VESTIBULE__SERVER__PUBLIC_URL'
              value: origin
            }
            {
              name: 'VESTIBULE__ADMIN__LISTEN'
              value: '0.0.0.0:4191'
            }
            {
              name: 'VESTIBULE__ENTRA__TENANT'
              value: tenant
            }
            {
              name: 'VESTIBULE__ENTRA__CLIENT_ID'
              value: clientId
            }
            {
              name: 'VESTIBULE__ENTRA__CLIENT_SECRET_FILE'
              value: '/etc/vestibule/client-secret'
            }
            {
              name: 'VESTIBULE__SESSION__KEYS_FILE'
              value: '/etc/vestibule/session-keys'
            }
            {
              name: 'VESTIBULE__UPSTREAM__URL'
              value: 'http://127.0.0.1:${appPort}'
            }
          ]
          volumeMounts: [
            {
              volumeName: 'vestibule'
              mountPath: '/etc/vestibule'
            }
          ]
          probes: [
            {
              type: 'Startup'
              httpGet: {
                path: '/livez'
                port: 4191
              }
              periodSeconds: 1
              failureThreshold: 10
            }
            {
              type: 'Liveness'
              httpGet: {
                path: '/livez'
                port: 4191
              }
            }
            {
              type: 'Readiness'
              httpGet: {
                path: '/readyz'
                port: 4191
              }
              periodSeconds: 5
            }
          ]
        }
        {
          name: 'app'
          image: appImage
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: [
            {
              name: 'BIND'
              value: '127.0.0.1'
            }
            {
              name: 'PORT'
              value: string(appPort)
            }
          ]
        }
      ]
      scale: {
        minReplicas: 1
        maxReplicas: 5
      }
      volumes: [
        {
          name: 'vestibule'
          storageType: 'Secret'
          secrets: [
            {
              secretRef: 'client-secret'
              path: 'client-secret'
            }
            {
              secretRef: 'session-keys'
              path: 'session-keys'
            }
          ]
        }
      ]
    }
  }
}

output redirectUri string = '${origin}/.auth/login/aad/callback'
