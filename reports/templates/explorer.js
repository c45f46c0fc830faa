"use strict";
(async () => {
  const AT_ONCE = 20, MOST_WORDS = 1500;
  const CORRECT = 1, IN_FORMAT = 2, CORRECT_IN_FORMAT = 4, CUT_OFF = 8, UNSCORED = 16;
  const [TEXT, EXTRACTED, FLAGS, LANGUAGE, TOKENS, REWARD, HIGH_FOR_WRONG, LOW_FOR_CORRECT] = [0, 1, 2, 3, 4, 5, 6, 7];
  const find = (name) => document.getElementById(name);
  const make = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  // What has no shape of its own, or turns the text around it, is shown by its number: a reply cannot hide anything.
  const visible = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu,
    (one) => `\u2039U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);

  const packed = Uint8Array.from(atob(find("replies").textContent.trim()), (one) => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { sides, rows } = JSON.parse(await new Response(stream).text());
  const texts = rows.map(([question, answer, , , replies]) =>
    [question, answer, ...replies.map((reply) => reply && reply[TEXT])].join("\n").toLowerCase());
  const form = find("explorer"), list = find("found"), more = find("more"), count = find("count");
  const last = (row) => row[4][row[4].length - 1];
  const looks = {
    format: (reply) => !(reply[FLAGS] & IN_FORMAT),
    cut: (reply) => reply[FLAGS] & CUT_OFF,
    outside: (reply) => reply[FLAGS] & CORRECT && !(reply[FLAGS] & CORRECT_IN_FORMAT),
    high: (reply) => reply[HIGH_FOR_WRONG],
    low: (reply) => reply[LOW_FOR_CORRECT],
    unscored: (reply) => reply[FLAGS] & UNSCORED,
  };
  let matching = [], shown = 0;

  function filter() {
    const choice = Object.fromEntries(new FormData(form)), words = choice.search.toLowerCase().trim();
    matching = [...rows.keys()].filter((place) => {
      const row = rows[place], reply = last(row);
      return (!choice.change || row[3] === choice.change)
        && (!choice.kind || row[2] === choice.kind)
        && (!choice.language || (reply && reply[LANGUAGE] === choice.language))
        && (!choice.look || (reply && looks[choice.look](reply)))
        && (!words || texts[place].includes(words));
    });
    list.replaceChildren();
    shown = 0;
    count.textContent = `${matching.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    show();
  }

  function show() {
    list.append(...matching.slice(shown, shown + AT_ONCE).map((place) => entry(rows[place])));
    shown = Math.min(shown + AT_ONCE, matching.length);
    more.hidden = shown === matching.length;
    more.textContent = `Show ${Math.min(AT_ONCE, matching.length - shown)} more`;
  }

  function entry(row) {
    const [question, , , change] = row;
    const badge = make("span", { className: `badge ${change}`, textContent: change });
    const title = make("span", { className: "title", dir: "auto", textContent: visible(question).slice(0, 300) });
    const summary = make("summary", {}, ...(sides.length > 1 ? [badge, " "] : []), title);
    const details = make("details", {}, summary);
    details.addEventListener("toggle", () => {
      if (details.open && details.childElementCount === 1) details.append(...opened(row));
    });
    return make("li", {}, details);
  }

  function opened([question, answer, kind, , replies]) {
    const truth = make("span", { className: "truth", textContent: `answer: ${visible(answer ?? "not known")}` });
    const asked = make("p", { className: "question", dir: "auto", textContent: visible(question) });
    const facts = make("p", { className: "score" }, truth, kind ? `, ${kind}` : "");
    const [before, after] = highlighted(replies);
    const articles = replies.map((reply, place) => {
      const heading = make("h4", { textContent: sides[place] });
      const className = `reply side-${place} ${sides[place]}`;
      if (!reply) return make("article", { className }, heading, make("p", { className: "score", textContent: "no reply, or one whose text is not kept" }));
      const text = make("pre", { dir: "auto", tabIndex: 0, ariaLabel: `reply, ${sides[place]}` }, ...((place ? after : before) ?? [visible(reply[TEXT])]));
      return make("article", { className }, heading, text, make("p", { className: "score", textContent: scoreOf(reply) }));
    });
    const plain = replies.length === 2 && replies[0] && replies[1] && !before;
    const note = plain ? [make("p", { className: "note", textContent: "Too long for differing words to be highlighted." })] : [];
    return [asked, facts, ...note, make("div", { className: "pair" }, ...articles)];
  }

  function scoreOf(reply) {
    const flags = reply[FLAGS];
    const facts = [
      flags & UNSCORED ? "not scored" : `${flags & CORRECT ? "correct" : "wrong"} answer`,
      `read: ${visible(reply[EXTRACTED] ?? "none")}`,
      `${flags & IN_FORMAT ? "" : "not "}in the required format`,
      reply[LANGUAGE],
    ];
    if (flags & CUT_OFF) facts.push("cut off");
    if (reply[TOKENS] !== null) facts.push(`${reply[TOKENS]} tokens`);
    if (reply[REWARD] !== null) facts.push(`reward ${reply[REWARD]}`);
    return facts.filter(Boolean).join(", ");
  }

  // Two replies word by word, with what only one of them has highlighted; nothing where there are not two or they are too long.
  function highlighted(replies) {
    if (replies.length !== 2 || !replies[0] || !replies[1]) return [];
    const [one, two] = replies.map((reply) => visible(reply[TEXT]).match(/\s+|[^\s]+/g) ?? []);
    let start = 0, ends = 0;
    while (start < Math.min(one.length, two.length) && one[start] === two[start]) start++;
    while (ends < Math.min(one.length, two.length) - start && one.at(-1 - ends) === two.at(-1 - ends)) ends++;
    const a = one.slice(start, one.length - ends), b = two.slice(start, two.length - ends);
    if (a.length > MOST_WORDS || b.length > MOST_WORDS) return [];
    const width = b.length + 1, longest = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--)
      for (let j = b.length - 1; j >= 0; j--)
        longest[i * width + j] = a[i] === b[j]
          ? longest[(i + 1) * width + j + 1] + 1
          : Math.max(longest[(i + 1) * width + j], longest[i * width + j + 1]);
    const before = [one.slice(0, start).join("")], after = [...before];
    let i = 0, j = 0;
    while (i < a.length || j < b.length) {
      if (i < a.length && j < b.length && a[i] === b[j]) { before.push(a[i++]); after.push(b[j++]); }
      else if (j === b.length || (i < a.length && longest[(i + 1) * width + j] >= longest[i * width + j + 1]))
        before.push(make("del", { textContent: a[i++] }));
      else after.push(make("ins", { textContent: b[j++] }));
    }
    const tail = one.slice(one.length - ends).join("");
    return [[...before, tail], [...after, tail]];
  }

  let pause;
  form.addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(filter, 120); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", show);
  for (const button of document.querySelectorAll("button[data-change]"))
    button.addEventListener("click", () => {
      form.elements.change.value = button.dataset.change;
      filter();
      form.scrollIntoView();
    });
  addEventListener("beforeprint", () => list.querySelectorAll("details").forEach((each) => { each.open = true; }));
  form.hidden = false;
  filter();
})();
