(function () {
  "use strict";

  var byId = function (id) { return document.getElementById(id); };

  function show(element, text, url) {
    element.textContent = text;
    if (url) {
      var link = document.createElement("a");
      link.href = url;
      link.textContent = "Sign in";
      element.append("\n\n", link);
    }
    element.hidden = false;
  }

  function ask(element, url, options) {
    show(element, "Asking …");
    fetch(url, options)
      .then(function (answer) {
        return answer.text().then(function (text) {
          var body = text;
          var login;
          try {
            var json = JSON.parse(text);
            body = JSON.stringify(json, null, 2);
            login = answer.status === 401 && json.login_url;
          } catch (ignored) { /* not JSON: shown as it is */ }
          show(element, options.method + " " + url + "\n" + answer.status + " " + answer.statusText + "\n\n" + body, login);
        });
      })
      .catch(function (problem) { show(element, "No answer: " + problem.message); });
  }

  byId("time").addEventListener("click", function () {
    ask(byId("time-result"), "/api/time", { method: "GET", cache: "no-store" });
  });
  byId("time-anonymous").addEventListener("click", function () {
    ask(byId("time-result"), "/api/time", { method: "GET", cache: "no-store", credentials: "omit" });
  });
  byId("renew").addEventListener("click", function () {
    ask(byId("renew-result"), "/.auth/refresh", { method: "POST", cache: "no-store" });
  });

  var left = byId("left");
  if (left) {
    var tick = function () {
      var seconds = Math.round(Number(left.dataset.expires) - Date.now() / 1000);
      if (seconds < 0) {
        left.textContent = "It has ended. Refresh the page.";
        return;
      }
      var parts = [[3600, "hour"], [60, "minute"], [1, "second"]];
      var words = [];
      parts.forEach(function (part) {
        var count = Math.floor(seconds / part[0]);
        seconds -= count * part[0];
        if (count || (part[0] === 1 && !words.length)) {
          words.push(count + " " + part[1] + (count === 1 ? "" : "s"));
        }
      });
      left.textContent = words.join(" ");
      setTimeout(tick, 1000);
    };
    tick();
  }
}());
