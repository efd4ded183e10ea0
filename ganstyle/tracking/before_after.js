// The slider over each photo, and the buttons for all of them.
(() => {
  const sliders = [...document.querySelectorAll('.stage input')];
  const show = (slider) => slider.parentElement.style.setProperty('--at', slider.value);
  for (const slider of sliders) {
    slider.hidden = false;
    slider.addEventListener('input', () => show(slider));
    // The arrows of a slider without steps move by a browser's own choice; here by a twentieth.
    slider.addEventListener('keydown', (event) => {
      const way = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5 }[event.key];
      if (way === undefined) return;
      event.preventDefault();
      slider.value = Number(slider.value) + way;
      show(slider);
    });
    show(slider); // a browser that comes back to the page remembers where the slider was
  }
  const all = document.querySelector('.all');
  all.hidden = sliders.length < 2;
  all.addEventListener('click', (event) => {
    const at = event.target.dataset.at;
    if (at === undefined) return;
    for (const slider of sliders) {
      slider.value = at;
      show(slider);
    }
  });
})();
