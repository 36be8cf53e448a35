// Takes a kept form out of this tab, so that nobody finds it again, and posts it to us.
{
  const key = "vestibule-form-" + document.getElementById("step").dataset.name;
  const form = document.getElementById("form");
  let sealed = null;
  try {
    sealed = sessionStorage.getItem(key);
    sessionStorage.removeItem(key);
  } catch {
    // Without storage there is no form here.
  }
  if (sealed) {
    showWorking();
    form.elements.namedItem("sealed").value = sealed;
    // Before the page has loaded, so that the browser's history keeps no step between.
    form.submit();
  }
}
