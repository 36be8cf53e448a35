// The part of an address behind # never reaches a server, so the page puts it into the address
// that begins the sign-in. One that is too long is left behind: better the page than an error.
{
  const { next, room } = document.getElementById("step").dataset;
  const fragment = location.hash.length > Number(room) ? "" : location.hash;
  showWorking();
  location.replace(next + encodeURIComponent(fragment));
}
