// The form works without this. Here the text is saved while it is written, and a large answer shows how far it is.
(() => {
  "use strict";
  const form = document.getElementById("answer-form");
  if (!form) return;
  const text = form.elements.text, files = form.elements.files, said = document.getElementById("answer-said");
  const sending = document.getElementById("answer-sending"), bar = sending.querySelector("progress");
  const refusal = document.getElementById("answer-refusal");
  const buttons = form.querySelectorAll("button");
  const PAUSE = 3000; // milliseconds without a key
  const LONGEST = 60000; // milliseconds between two tries
  let timer = 0, pause = PAUSE, isSending = false;
  let saved = text.defaultValue; // what the page came with: what was typed since, this file may have come too late to see

  const asJson = (response) => response.headers.get("Content-Type")?.startsWith("application/json");

  function wait() {
    window.clearTimeout(timer);
    timer = window.setTimeout(save, pause);
  }

  function again() {
    pause = Math.min(2 * pause, LONGEST);
    wait();
  }

  async function save() {
    window.clearTimeout(timer);
    if (isSending || text.value === saved) return;
    const now = text.value, values = new URLSearchParams();
    for (const name of ["csrfmiddlewaretoken", "nonce"]) values.set(name, form.elements[name].value);
    values.set("text", now);
    try {
      const response = await fetch(form.dataset.draft, { method: "POST", body: values, headers: { Accept: "application/json" }, redirect: "manual", keepalive: now.length < 20000 });
      if (response.ok && asJson(response)) {
        saved = now;
        pause = PAUSE;
        if (!isSending) said.textContent = (await response.json()).said;
      } else if (response.status >= 500) again(); // any other answer would be the same the next time
    } catch { again(); }
  }

  text.addEventListener("input", wait);
  if (text.value !== saved) wait();
  document.addEventListener("visibilitychange", () => { if (document.visibilityState === "hidden") save(); });

  function stop(sentence) {
    isSending = false;
    sending.hidden = true;
    said.textContent = "";
    buttons.forEach((button) => { button.disabled = false; });
    refusal.querySelector("p").textContent = sentence;
    refusal.hidden = false;
    refusal.scrollIntoView({ block: "nearest" });
    text.focus();
  }

  function isTooLarge() {
    const sizes = Array.from(files.files, (file) => file.size);
    const most = Number(form.dataset.limit), together = Number(form.dataset.together);
    return sizes.some((size) => size > most) || sizes.reduce((all, size) => all + size, 0) > together;
  }

  function show(event) {
    if (!event.lengthComputable) return;
    const percent = Math.floor((100 * event.loaded) / event.total);
    const before = Math.floor(bar.value / 25);
    bar.value = percent;
    if (percent === 100) said.textContent = form.dataset.examined;
    else if (Math.floor(percent / 25) !== before) said.textContent = form.dataset.sending.replace("#", String(percent));
  }

  function end(request) {
    let values = null;
    try { values = JSON.parse(request.responseText); } catch { /* a page: the session is over, or a fault */ }
    if (values?.to) window.location.assign(values.to);
    else if (values?.refusal) {
      if (values.nonce) form.elements.nonce.value = values.nonce; // what is sent next is another answer
      stop(values.refusal);
    }
    else if (request.status === 200 && request.responseURL) window.location.assign(request.responseURL);
    else stop(form.dataset.broken);
  }

  form.addEventListener("submit", async (event) => {
    if (event.submitter?.hasAttribute("formaction") || !files.files.length) {
      window.clearTimeout(timer);
      return; // as without this file
    }
    event.preventDefault();
    if (isSending) return;
    if (isTooLarge()) { stop(form.dataset.tooLarge); return; }
    await save();
    isSending = true;
    refusal.hidden = true;
    bar.value = 0;
    sending.hidden = false;
    said.textContent = form.dataset.sending.replace("#", "0");
    buttons.forEach((button) => { button.disabled = true; });
    const request = new XMLHttpRequest();
    request.open("POST", form.action);
    request.setRequestHeader("Accept", "application/json");
    request.upload.addEventListener("progress", show);
    request.addEventListener("load", () => end(request));
    request.addEventListener("error", () => stop(form.dataset.broken));
    request.send(new FormData(form));
  });
})();
