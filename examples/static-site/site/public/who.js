// A page without a server can ask the proxy who is reading.
fetch("/.auth/me")
    .then((answer) => answer.json())
    .then(([me]) => { document.getElementById("user").textContent = me.user_id; });
