// Each value can be selected with one click without this. Here buttons put it on the clipboard.
(() => {
  "use strict";
  const DONE = 2000; // milliseconds that a button says so

  function select(value) {
    const range = document.createRange();
    range.selectNodeContents(value);
    const selection = window.getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
  }

  async function copy(value) {
    try {
      await navigator.clipboard.writeText(value.textContent);
      return true;
    } catch { // no secure context, or not allowed
      select(value);
      return document.execCommand("copy");
    }
  }

  for (const button of document.querySelectorAll("button[data-copy]")) {
    const value = document.getElementById(button.dataset.copy), word = button.firstChild, before = word.nodeValue;
    const said = document.createElement("span");
    said.className = "visually-hidden";
    said.setAttribute("role", "status");
    button.after(said);
    button.hidden = false;
    button.addEventListener("click", async () => {
      if (!(await copy(value))) return; // it is selected
      word.nodeValue = said.textContent = button.dataset.done;
      window.setTimeout(() => { word.nodeValue = before; said.textContent = ""; }, DONE);
    });
  }
})();
