"use strict";

// Times, as the reader's clock has them.
const ago = (milliseconds) => {
  const minutes = Math.round(milliseconds / 60000);
  if (minutes < 1) return "less than a minute ago";
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.round(minutes / 60)} h ago`;
  return `${Math.round(minutes / 1440)} days ago`;
};
for (const place of document.querySelectorAll("time")) {
  const time = new Date(place.dateTime);
  if (Number.isNaN(time.getTime())) continue;
  const local = time.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  place.title = place.dateTime;
  const tell = () => { place.textContent = place.closest(".state") ? `${ago(Date.now() - time)} (${local})` : local; };
  tell();
  if (place.closest(".state")) setInterval(tell, 30000);
}

// Pictures through time.
for (const box of document.querySelectorAll(".frames")) {
  const pictures = box.querySelectorAll("img");
  const slider = box.querySelector("input");
  const play = box.querySelector(".play");
  const size = box.querySelector(".size");
  const output = box.querySelector("output");
  let timer = null;
  const show = () => {
    pictures.forEach((picture, index) => { picture.hidden = index !== Number(slider.value); });
    output.textContent = pictures[slider.value].alt;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const advance = () => {
    slider.value = Number(slider.value) + 1;
    show();
    if (slider.value === slider.max) stop();
  };
  play.hidden = pictures.length < 2;
  play.addEventListener("click", () => {
    if (timer !== null) return stop();
    if (slider.value === slider.max) slider.value = 0;
    show();
    play.textContent = "Pause";
    timer = setInterval(advance, 400);
  });
  size.hidden = false;
  size.addEventListener("click", () => {
    const large = box.classList.toggle("large");
    size.textContent = large ? "Smaller" : "Larger";
    size.setAttribute("aria-pressed", large);
  });
  slider.addEventListener("input", () => { stop(); show(); });
  slider.value = slider.max;
  show();
}
