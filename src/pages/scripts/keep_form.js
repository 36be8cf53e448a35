// Keeps a sealed form in this tab, and goes on to sign in where the page says where.
{
  const { name, sealed, next } = document.getElementById("step").dataset;
  const prefix = "vestibule-form-";
  const keep = () => sessionStorage.setItem(prefix + name, sealed);
  try {
    try {
      keep();
    } catch {
      // Full: forms of sign-ins that were given up make room. Storage that is blocked fails again.
      const kept = Object.keys(sessionStorage).filter((key) => key.startsWith(prefix));
      kept.forEach((key) => sessionStorage.removeItem(key));
      keep();
    }
    if (next) {
      showWorking();
      // replace: the back button must not come here and keep the form a second time.
      location.replace(next);
    }
  } catch {
    // The page goes on showing what to do without us.
  }
}
