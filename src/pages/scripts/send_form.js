// Submits a form to the app, once: whoever comes back to this page is asked first.
{
  const { name, at } = document.getElementById("step").dataset;
  const key = "vestibule-sent-" + name;
  const form = document.getElementById("form");
  let first = false;
  try {
    first = at === "once" && !sessionStorage.getItem(key);
    if (first) sessionStorage.setItem(key, "1");
  } catch {
    // Where nothing can be noted, nothing is sent unasked.
    first = false;
  }
  if (first) {
    showWorking();
    // A field of the form may be called "submit".
    HTMLFormElement.prototype.submit.call(form);
  }
}
