// The explorer: one state (cut, choice, colouring), one function `show` that makes the page follow it.
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const { rows, groups, labels, sheet } = data;
  const at = id => document.getElementById(id); // null for a control that this page does not have
  const map = at('map'), tip = at('tip'), ring = at('ring'), slider = at('cut'), select = at('colour');
  const UNSURE = [213, 94, 0], SURE = [0, 114, 178]; // two ends that colour-blind eyes tell apart
  const OTHER = { colour: '#8A8A8A', symbol: 'circle', path: 'M8 4a4 4 0 1 0 0 8a4 4 0 1 0 0-8z' };
  const FADED = 0.08;
  const state = { cut: data.nComponents, chosen: null, row: null };
  let groupOfLeaf = [], placed = [], confidence = [];

  const stands = group => group.fewest <= state.cut && state.cut <= group.most;
  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    made.textContent = text;
    Object.entries(attributes).forEach(([name, value]) => made.setAttribute(name, value));
    return made;
  };
  const short = value => Number(value.toPrecision(4)).toLocaleString('en').replace('-', '−');

  // Groups of the cut, and where each row belongs in it.
  const follow = () => {
    groups.forEach((group, g) => {
      if (stands(group)) group.leaves.forEach(leaf => { groupOfLeaf[leaf] = g; });
    });
    placed = rows.leaf.map(leaf => groupOfLeaf[leaf]);
    confidence = rows.near.map((near, i) => Math.min(1, near.reduce(
      (sum, leaf, j) => sum + (groupOfLeaf[leaf] === placed[i] ? rows.resp[i][j] : 0), 0,
    )));
  };
  const otherGroup = i => {
    const j = rows.near[i].findIndex(leaf => groupOfLeaf[leaf] !== placed[i]);
    return j < 0 ? null : groups[groupOfLeaf[rows.near[i][j]]].name;
  };

  // Colours of the rows, and the words on the map.
  const mixed = share => {
    const t = Math.max(0, (share - 0.5) / 0.5);
    return `rgb(${UNSURE.map((low, i) => Math.round(low + t * (SURE[i] - low))).join(',')})`;
  };
  const signs = () => {
    if (select.value === 'confidence') return confidence.map(share => ({ ...OTHER, colour: mixed(share) }));
    if (select.value === 'label') return rows.label.map(y => labels[y] ?? OTHER);
    return groups.length > 1 ? placed.map(g => groups[g]) : placed.map(() => groups[0]);
  };
  const median = values => values.sort((a, b) => a - b)[values.length >> 1];
  const names = () => {
    const byLabel = select.value === 'label';
    const members = new Map();
    (byLabel ? rows.label : placed).forEach((key, i) => {
      if (!members.has(key)) members.set(key, []);
      members.get(key).push(i);
    });
    if (members.size < 2) return [];
    return [...members].filter(([key]) => !byLabel || labels[key]).map(([key, own]) => ({
      x: median(own.map(i => rows.x[i])), y: median(own.map(i => rows.y[i])), showarrow: false, borderpad: 2,
      yshift: own.length < rows.x.length / 20 ? 16 : 0, // above the points of a small group, not on them
      captureevents: false, text: `<b>${page.plain(byLabel ? labels[key].name : groups[key].name)}</b>`,
    }));
  };
  const drawMap = () => {
    const each = signs();
    const trace = {
      type: 'scatter', mode: 'markers', hoverinfo: 'none', x: rows.x, y: rows.y,
      marker: {
        color: each.map(sign => sign.colour), symbol: each.map(sign => sign.symbol),
        size: 7, line: { width: 0 },
        opacity: placed.map(g => (state.chosen === null || g === state.chosen ? 0.85 : FADED)),
      },
    };
    const axis = { showticklabels: false, showgrid: false, showline: false, zeroline: false };
    page.react(map, [trace], {
      xaxis: { ...axis }, yaxis: { ...axis }, annotations: names(), hovermode: 'closest', showlegend: false,
      margin: { l: 8, r: 8, t: 30, b: 8 }, paper_bgcolor: 'rgba(0,0,0,0)', plot_bgcolor: 'rgba(0,0,0,0)',
      uirevision: 'kept', // zoom and pan stay as they are
    }, true);
  };
  const drawLegend = () => {
    const legend = at('legend');
    legend.replaceChildren();
    const swatch = sign => {
      const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
      const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
      svg.setAttribute('viewBox', '0 0 16 16');
      svg.setAttribute('class', 'swatch');
      svg.setAttribute('aria-hidden', 'true');
      path.setAttribute('d', sign.path);
      path.setAttribute('fill', sign.colour);
      svg.append(path);
      return svg;
    };
    const item = (sign, name) => {
      const li = element('li', name);
      li.prepend(swatch(sign));
      legend.append(li);
    };
    if (select.value === 'label') {
      labels.forEach(label => item(label, label.name));
      if (rows.label.some(y => !labels[y])) item(OTHER, 'other labels');
    } else if (select.value === 'confidence') {
      const ramp = element('li', '', { class: 'ramp' });
      ramp.style.background = `linear-gradient(to right, ${mixed(0.5)}, ${mixed(1)})`;
      legend.append(element('li', '0.5 sure or less'), ramp, element('li', '1'));
    }
  };
  const drawTree = () => {
    const tree = at('tree');
    if (!tree?.data) return; // not drawn yet
    const last = tree.data.length - 1;
    const own = tree.data[last].customdata.map(leaf => groups[groupOfLeaf[leaf]]);
    const faded = own.map(group => (state.chosen === null || groups[state.chosen] === group ? 1 : 0.2));
    const n = data.depths.length + 1 - state.cut; // joins that are made
    const floor = 0.05 / 2;
    const low = Math.max(floor, n > 0 ? data.depths[n - 1] : 0);
    const high = Math.max(floor, n < data.depths.length ? data.depths[n] : 2 * low);
    const y = Math.sqrt(low * high);
    Plotly.update(tree, {
      'marker.color': [own.map(group => group.colour)], 'marker.symbol': [own.map(group => group.symbol)],
      'marker.opacity': [faded],
    }, {
      shapes: [{
        type: 'line', xref: 'paper', x0: 0, x1: 1, y0: y, y1: y,
        line: { dash: 'dash', width: 2, color: page.colour('--accent') },
      }],
    }, [last]);
  };

  // One row: a ring around it, and what it is.
  const hide = () => {
    state.row = null;
    tip.hidden = ring.hidden = true;
  };
  const showRow = i => {
    state.row = i;
    const list = element('ul', '');
    const say = text => list.append(element('li', text));
    const otherwise = otherGroup(i);
    if (groups.length > 1) {
      say(`${data.word} ${groups[placed[i]].name}, ${confidence[i].toFixed(3)} sure`
        + (otherwise !== null && confidence[i] < 0.95 ? `, or ${otherwise}` : ''));
    }
    if (rows.label) say(`label ${labels[rows.label[i]]?.name ?? rows.label[i]}`);
    say(`log-likelihood ${short(rows.loglik[i])} nats`);
    const about = [element('b', `Row ${rows.row[i]}`), list];
    if (sheet) {
      const tile = element('span', '', { class: 'tile', role: 'img', 'aria-label': `Picture of row ${rows.row[i]}` });
      const share = (place, n) => `${(100 * place / Math.max(1, n - 1)).toFixed(4)}%`;
      tile.style.backgroundPosition = `${share(i % sheet.nColumns, sheet.nColumns)} ${share(Math.floor(i / sheet.nColumns), sheet.nRows)}`;
      about.unshift(tile);
    } else {
      rows.feature[i].forEach((d, j) => {
        const effect = rows.effect[i][j];
        if (effect) say(`${data.features[d]} ${short(rows.value[i][j])} (${effect > 0 ? '+' : '−'}${Math.abs(effect)} sd)`);
      });
    }
    tip.replaceChildren(...about);
    tip.hidden = ring.hidden = false;
    const { xaxis, yaxis } = map._fullLayout;
    const x = map.offsetLeft + xaxis._offset + xaxis.l2p(rows.x[i]);
    const y = map.offsetTop + yaxis._offset + yaxis.l2p(rows.y[i]);
    ring.style.left = `${x}px`;
    ring.style.top = `${y}px`;
    const room = map.parentElement.clientWidth;
    const left = x + 16 + tip.offsetWidth < room ? x + 16 : x - 16 - tip.offsetWidth;
    tip.style.left = `${Math.max(4, Math.min(left, room - tip.offsetWidth - 4))}px`;
    tip.style.top = `${Math.max(4, y - tip.offsetHeight / 2)}px`;
  };

  // Everything follows the state.
  const show = () => {
    follow();
    for (const part of document.querySelectorAll('[data-fewest]')) {
      const outside = state.cut < Number(part.dataset.fewest) || Number(part.dataset.most) < state.cut;
      const other = part.matches('article') && state.chosen !== null && Number(part.dataset.group) !== state.chosen;
      part.hidden = outside || other;
      part.classList.toggle('chosen', Number(part.dataset.group) === state.chosen);
    }
    for (const button of document.querySelectorAll('[data-pick]')) {
      button.setAttribute('aria-pressed', String(Number(button.dataset.pick) === state.chosen));
    }
    if (slider) {
      slider.value = state.cut;
      at('n').textContent = state.cut;
      at('as-fitted').disabled = state.cut === data.nComponents;
    }
    if (at('all')) at('all').disabled = state.chosen === null;
    const group = state.chosen === null ? null : groups[state.chosen];
    at('said').textContent = group ? `Chosen: ${data.word} ${group.name}, ${group.size.toLocaleString('en')} rows` : '';
    drawMap();
    drawLegend();
    drawTree();
    if (state.row !== null) showRow(state.row);
  };
  const choose = g => {
    state.chosen = g === state.chosen || groups.length === 1 ? null : g;
    document.querySelectorAll('article details').forEach(details => { details.open = state.chosen !== null; });
    show();
  };
  const cutAt = n => {
    const leader = state.chosen === null ? null : groups[state.chosen].leaves[0];
    state.cut = n;
    state.chosen = leader === null ? null : groups.findIndex(group => stands(group) && group.leaves.includes(leader));
    show();
  };

  // The nearest row in the direction of an arrow key, by its place on the screen.
  const STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const next = ([right, up]) => {
    const able = i => state.chosen === null || placed[i] === state.chosen;
    if (state.row === null || !able(state.row)) return rows.row.findIndex((_, i) => able(i));
    const { xaxis, yaxis } = map._fullLayout;
    let best = state.row, least = Infinity;
    rows.x.forEach((x, i) => {
      const dx = xaxis.l2p(x) - xaxis.l2p(rows.x[state.row]), dy = yaxis.l2p(rows.y[state.row]) - yaxis.l2p(rows.y[i]);
      const along = dx * right + dy * up, aside = Math.abs(dx * up) + Math.abs(dy * right);
      if (able(i) && along > 0 && aside <= along && along + 2 * aside < least) [best, least] = [i, along + 2 * aside];
    });
    return best;
  };

  slider?.addEventListener('input', () => cutAt(Number(slider.value)));
  at('as-fitted')?.addEventListener('click', () => cutAt(data.nComponents));
  at('all')?.addEventListener('click', () => choose(null));
  select.addEventListener('change', show);
  document.addEventListener('click', event => {
    const pick = event.target.closest('[data-pick]'), row = event.target.closest('[data-row]');
    if (pick) choose(Number(pick.dataset.pick));
    if (row) {
      map.scrollIntoView({ block: 'center' });
      map.focus({ preventScroll: true });
      showRow(Number(row.dataset.row));
    }
  });
  document.addEventListener('keydown', event => {
    if (event.key === 'Escape') {
      hide();
      if (state.chosen !== null) choose(null);
    }
  });
  map.addEventListener('keydown', event => {
    if (event.key in STEPS) {
      event.preventDefault();
      showRow(next(STEPS[event.key]));
    } else if (event.key === 'Enter' && state.row !== null) {
      choose(placed[state.row]);
    }
  });
  map.addEventListener('blur', hide);
  show();
  map.on('plotly_hover', event => showRow(event.points[0].pointNumber));
  map.on('plotly_unhover', hide);
  map.on('plotly_click', event => choose(placed[event.points[0].pointNumber]));
  map.on('plotly_relayout', () => { if (state.row !== null) showRow(state.row); });
  at('tree')?.addEventListener('drawn', () => {
    drawTree();
    at('tree').removeAllListeners('plotly_click');
    at('tree').on('plotly_click', event => {
      const leaf = event.points[0].customdata;
      if (leaf !== undefined) choose(groupOfLeaf[leaf]);
    });
  });
  page.watcher.observe(map);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', show);
  document.documentElement.dataset.ready = Math.round(performance.now()); // ms since the page was asked for
})();
