<?php
// The phone book of 2009. It knows nothing about OAuth: Apache says who the user is (REMOTE_USER),
// and the header that App Service would send holds the token for Microsoft Graph.
$user  = $_SERVER['REMOTE_USER'] ?? '';
$token = $_SERVER['HTTP_X_MS_TOKEN_AAD_ACCESS_TOKEN'] ?? '';
$book  = (getenv('DATA') ?: '/var/lib/phonebook') . '/numbers.csv';

/** Asks Microsoft Graph with the user's token. */
function graph(string $path, string $token): array
{
    $base = getenv('GRAPH') ?: 'https://graph.microsoft.com/v1.0';
    $call = stream_context_create(['http' => [
        'header'        => "Authorization: Bearer $token",
        'ignore_errors' => true,
        'timeout'       => 10,
    ]]);
    return json_decode(file_get_contents($base . $path, false, $call) ?: '[]', true) ?: [];
}

/** All entries: user name => [display name, number]. */
function numbers(string $book): array
{
    $entries = [];
    $file = is_readable($book) ? fopen($book, 'r') : false;
    while ($file && $row = fgetcsv($file, null, ',', '"', '')) {
        $entries[$row[0]] = [$row[1], $row[2]];
    }
    return $entries;
}

function h(?string $text): string
{
    return htmlspecialchars($text ?? '', ENT_QUOTES);
}

if ($user === '') {
    http_response_code(403);
    exit('Who are you?');
}
$me = graph('/me', $token);

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $entries = numbers($book);
    $entries[$user] = [$me['displayName'] ?? $user, $_POST['number'] ?? ''];
    $file = fopen($book, 'w');
    foreach ($entries as $name => $entry) {
        fputcsv($file, [$name, ...$entry], ',', '"', '');
    }
    fclose($file);
    header('Location: /', true, 303);
    exit;
}
?>
<!doctype html>
<meta charset="utf-8">
<title>Phone book</title>
<style>body { font: 16px sans-serif; margin: 2em } td { padding: .2em 1em .2em 0 }</style>
<h1>Phone book</h1>
<p>Hello <b id="name"><?= h($me['displayName'] ?? '?') ?></b>, <?= h($me['jobTitle'] ?? '') ?>
   (<span id="user"><?= h($user) ?></span>). <a href="/.auth/logout">Sign out</a></p>
<table>
<?php foreach (numbers($book) as [$name, $number]) : ?>
  <tr><td><?= h($name) ?></td><td><?= h($number) ?></td></tr>
<?php endforeach ?>
</table>
<form method="post">
  <label>My number <input name="number" required></label>
  <button>Save</button>
</form>
