'use strict';
// Draws the figures of the page, in the ink of the window's colour scheme. No text from the data
// becomes markup here: plotly's JSON is read as data, and names are escaped by `plain`.
const page = (() => {
  const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const plain = text => String(text).replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
  const dress = layout => {
    const ink = colour('--ink'), quiet = colour('--quiet'), line = colour('--line'), card = colour('--card');
    const font = { family: getComputedStyle(document.body).fontFamily, size: 13, color: quiet };
    const out = {
      ...layout, font,
      modebar: { bgcolor: 'rgba(0,0,0,0)', color: quiet, activecolor: ink },
      hoverlabel: { bgcolor: card, bordercolor: line, font: { ...font, color: ink } },
    };
    for (const key of Object.keys(layout).filter(key => /^[xy]axis/.test(key))) {
      out[key] = {
        ...layout[key], title: { ...layout[key].title, font }, linecolor: line, gridcolor: line,
        showgrid: layout[key].showgrid ?? key.startsWith('y'),
      };
    }
    out.annotations = (layout.annotations ?? []).map(note => (
      { ...note, bgcolor: card, opacity: 0.85, font: { ...font, size: 14, color: ink } }
    ));
    return out;
  };
  const buttons = [['toImage', 'zoom2d', 'pan2d', 'zoomIn2d', 'zoomOut2d', 'resetScale2d']]; // none sends data
  const react = (place, traces, layout, displayModeBar) => Plotly.react(
    place, traces, dress(layout), { displaylogo: false, modeBarButtons: buttons, displayModeBar },
  );
  const figures = new Map([...document.querySelectorAll('script[data-plot]')].map(
    source => [document.getElementById(source.dataset.plot), source],
  ));
  const draw = place => {
    const figure = JSON.parse(figures.get(place).textContent);
    react(place, figure.data, figure.layout, false);
    place.dispatchEvent(new Event('drawn'));
  };
  const drawn = () => [...figures.keys()].filter(place => place.data);
  const sizes = new WeakMap(); // observers report once without a change
  const watcher = new ResizeObserver(entries => entries.forEach(({ target, contentRect }) => {
    const size = `${contentRect.width} ${contentRect.height}`;
    if (sizes.has(target) && sizes.get(target) !== size) Plotly.Plots.resize(target);
    sizes.set(target, size);
  }));
  // One figure whenever the window has nothing else to do, so that the page opens at once.
  const whenIdle = window.requestIdleCallback ?? (run => setTimeout(run, 50));
  const waiting = [...figures.keys()];
  const drawNext = () => {
    const place = waiting.shift();
    if (!place) return;
    draw(place);
    watcher.observe(place);
    whenIdle(drawNext);
  };
  whenIdle(drawNext);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => drawn().forEach(draw));
  return { colour, plain, react, watcher };
})();
