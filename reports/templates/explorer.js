(async () => {
  const AT_ONCE = 20;
  const [QUESTION, KIND, CHANGE, REPLIES, PROBLEM, INDEX] = [0, 2, 3, 4, 5, 6];
  const find = (name) => document.getElementById(name);
  const { sides, rewards, rows } = await unpacked("replies");
  const texts = rows.map(([question, answer, , , replies, problem]) =>
    [problem, question, answer, ...replies.map((reply) => reply && reply[TEXT])].join("\n").toLowerCase());
  const ids = rows.map((row) => encodeURIComponent(row[PROBLEM].toWellFormed()) + (row[INDEX] ? `:${row[INDEX]}` : ""));
  const form = find("explorer"), list = find("found"), more = find("more"), count = find("count"), told = find("told");
  const first = (row) => row[REPLIES][0], last = (row) => row[REPLIES].at(-1);
  const isFailure = (row) => last(row) && !(last(row)[FLAGS] & (CORRECT_IN_FORMAT | UNSCORED));
  const isChange = (row) => row[CHANGE] === "gained" || row[CHANGE] === "lost";
  const looks = {
    format: (reply) => !(reply[FLAGS] & IN_FORMAT),
    cut: (reply) => reply[FLAGS] & CUT_OFF,
    outside: (reply) => reply[FLAGS] & CORRECT && !(reply[FLAGS] & CORRECT_IN_FORMAT),
    high: (reply) => reply[HIGH_FOR_WRONG],
    low: (reply) => reply[LOW_FOR_CORRECT],
    unscored: (reply) => reply[FLAGS] & UNSCORED,
  };
  // Of the chosen reward function: what the last reply earns, and how much more that is than what the first one does.
  const earned = (row, at) => last(row)?.[REWARDS]?.[at] ?? null;
  const rise = (row, at) => (earned(row, at) === null || first(row)?.[REWARDS]?.[at] == null ? null : earned(row, at) - first(row)[REWARDS][at]);
  const earns = {
    above: (row, at) => earned(row, at) > 0,
    zero: (row, at) => earned(row, at) === 0,
    below: (row, at) => earned(row, at) < 0,
    more: (row, at) => rise(row, at) > 0,
    less: (row, at) => rise(row, at) < 0,
  };
  const keys = { reward: earned, tokens: (row) => last(row)?.[TOKENS] ?? null, change: rise };
  let matching = [], shown = 0, current = null;

  function filter() {
    const choice = Object.fromEntries(new FormData(form)), words = choice.search.toLowerCase().trim();
    const at = Number(choice.reward ?? 0);
    matching = [...rows.keys()].filter((place) => {
      const row = rows[place], reply = last(row);
      return (!choice.change || row[CHANGE] === choice.change)
        && (!choice.kind || row[KIND] === choice.kind)
        && (!choice.language || (reply && reply[LANGUAGE] === choice.language))
        && (!choice.look || (reply && looks[choice.look](reply)))
        && (!choice.earns || earns[choice.earns](row, at))
        && (!words || texts[place].includes(words));
    });
    if (choice.sort) sort(at, ...choice.sort.split(" "));
    list.replaceChildren();
    shown = 0;
    current = told.textContent = null;
    count.textContent = t`${matching.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    find("nothing").hidden = matching.length > 0;
    for (const name of ["csv", "jsonl"]) find(name).disabled = !matching.length;
    show();
  }

  // Replies without a value stand last, whichever way the others are sorted.
  function sort(at, name, order) {
    const values = new Map(matching.map((place) => [place, keys[name](rows[place], at)]));
    const sign = order === "down" ? -1 : 1;
    matching.sort((a, b) => {
      const [one, two] = [values.get(a), values.get(b)];
      return one === null || two === null ? (one === null) - (two === null) : sign * (one - two);
    });
  }

  function show(upTo = shown + AT_ONCE) {
    list.append(...matching.slice(shown, upTo).map(entry));
    shown = Math.max(shown, Math.min(upTo, matching.length));
    more.hidden = shown === matching.length;
    more.textContent = t`Show ${Math.min(AT_ONCE, matching.length - shown)} more`;
  }

  function entry(place) {
    const row = rows[place];
    const badge = make("span", { className: `badge ${row[CHANGE]}`, textContent: word(row[CHANGE]) });
    const title = make("span", { className: "title", dir: "auto", textContent: visible(row[QUESTION]).slice(0, 300) });
    const summary = make("summary", {}, ...(sides.length > 1 ? [badge, " "] : []), title);
    const details = make("details", {}, summary);
    // Printing opens a reply too, and waits for no event.
    details.fill = () => {
      if (details.childElementCount > 1) return;
      title.textContent = visible(row[QUESTION]);
      details.append(...opened(row, ids[place]));
    };
    summary.addEventListener("click", () => { if (!details.open) mark(place); });
    details.addEventListener("toggle", () => { if (details.open) details.fill(); });
    return make("li", {}, details);
  }

  function opened(row, id) {
    const [, answer, kind, , replies] = row;
    const truth = make("span", { className: "truth", textContent: t`answer: ${visible(answer ?? t`not known`)}` });
    const facts = make("p", { className: "score" }, truth, kind ? `, ${visible(kind)}` : "");
    const link = make("a", { className: "permalink", href: `#reply=${id}`, textContent: t`link to this reply` });
    const copy = make("button", { type: "button", textContent: t`Copy as Markdown` });
    copy.addEventListener("click", () => copied(copy, markdownOf(row, sides, id)));
    const [before, after] = highlighted(replies);
    const articles = replies.map((reply, place) => {
      const heading = make("h3", { textContent: visible(word(sides[place])) });
      const className = `reply side-${place} ${sides[place]}`;
      if (!reply) return make("article", { className }, heading, make("p", { className: "score", textContent: t`no reply, or one whose text is not kept` }));
      const text = make("pre", { dir: "auto", tabIndex: 0, ariaLabel: t`reply, ${word(sides[place])}` }, ...((place ? after : before) ?? [visible(reply[TEXT])]));
      return make("article", { className }, heading, text, make("p", { className: "score", textContent: scoreOf(reply) }));
    });
    const plain = replies.length === 2 && replies[0] && replies[1] && !before;
    const note = plain ? [make("p", { className: "note", textContent: t`Too long for differing words to be highlighted.` })] : [];
    return [facts, ...note, make("div", { className: "pair" }, ...articles), make("p", { className: "actions" }, copy, link)];
  }

  // Where a browser gives no clipboard, the text is there to be copied by hand.
  async function copied(button, text) {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = t`Copied`;
    } catch {
      const box = make("textarea", { value: text, readOnly: true, rows: 8, ariaLabel: t`this reply as Markdown` });
      button.replaceWith(box);
      box.select();
    }
  }

  function mark(place) {
    current = place;
    told.textContent = "";
    history.replaceState(null, "", `#reply=${ids[place]}`);
  }

  function go(place) {
    const at = matching.indexOf(place), left = list.children[matching.indexOf(current)];
    if (left && current !== place) left.firstChild.open = false;
    show(Math.max(shown, at + 1));
    const details = list.children[at].firstChild;
    details.fill();
    details.open = true;
    mark(place);
    details.firstChild.focus({ preventScroll: true });
    details.scrollIntoView();
  }

  function step(by, test = () => true, what = t`No further reply.`) {
    let at = current === null ? (by > 0 ? -1 : matching.length) : matching.indexOf(current);
    do at += by; while (at in matching && !test(rows[matching[at]]));
    if (at in matching) go(matching[at]);
    else told.textContent = what;
  }

  function follow() {
    if (!location.hash.startsWith("#reply=")) return;
    const place = ids.indexOf(location.hash.slice("#reply=".length));
    if (place < 0) { told.textContent = t`The reply of this link is not on this page.`; return; }
    if (!matching.includes(place)) { form.reset(); filter(); }
    if (place !== current) go(place);
  }

  const actions = {
    j: () => step(1),
    k: () => step(-1),
    f: () => step(1, isFailure, t`No further failure.`),
    c: () => step(1, isChange, t`No further change.`),
    "/": () => { form.scrollIntoView(); form.elements.search.focus(); },
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (!Object.hasOwn(actions, event.key)) return;
    event.preventDefault();
    actions[event.key]();
  });
  for (const button of form.querySelectorAll("button[data-key]")) button.addEventListener("click", actions[button.dataset.key]);
  const records = () => matching.flatMap((place) => recordsOf(rows[place], sides, rewards));
  find("csv").addEventListener("click", () => download("replies.csv", "text/csv", csv(records())));
  find("jsonl").addEventListener("click", () => download("replies.jsonl", "application/jsonl", jsonl(records())));
  find("clear").addEventListener("click", () => { form.reset(); filter(); });

  let pause;
  form.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(filter, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => show());
  for (const button of document.querySelectorAll("button[data-change]"))
    button.addEventListener("click", () => {
      form.elements.change.value = button.dataset.change;
      filter();
      form.scrollIntoView();
    });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details:not([open])")];
    for (const details of closed) { details.fill?.(); details.open = true; }
  });
  addEventListener("afterprint", () => { for (const details of closed) details.open = false; });
  addEventListener("hashchange", follow);
  form.hidden = false;
  filter();
  follow();
})();
