"use strict";
// Until a script shows the first, a page shows its second half: what to do without scripts.
const showWorking = () => {
  const working = document.getElementById("working");
  document.getElementById("otherwise").hidden = true;
  working.hidden = false;
  document.title = working.querySelector("h1").textContent;
};
