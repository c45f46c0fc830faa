const MOST_WORDS = 1500;
const CORRECT = 1, IN_FORMAT = 2, CORRECT_IN_FORMAT = 4, CUT_OFF = 8, UNSCORED = 16;
const [TEXT, EXTRACTED, FLAGS, LANGUAGE, TOKENS, REWARDS, HIGH_FOR_WRONG, LOW_FOR_CORRECT] = [0, 1, 2, 3, 4, 5, 6, 7];
const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};
// The data that a page holds in its element of that id.
async function unpacked(id) {
  const packed = Uint8Array.from(atob(document.getElementById(id).textContent.trim()), (one) => one.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}
// What has no shape of its own, or turns the text around it, is shown by its number: a reply cannot hide anything.
const visible = (text) => text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu,
  (one) => `\u2039U+${one.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`);

function scoreOf(reply) {
  const flags = reply[FLAGS];
  const facts = [
    flags & UNSCORED ? t`not scored` : flags & CORRECT ? t`correct answer` : t`wrong answer`,
    t`read: ${visible(reply[EXTRACTED] ?? t`none`)}`,
    flags & IN_FORMAT ? t`in the required format` : t`not in the required format`,
    reply[LANGUAGE],
  ];
  if (flags & CUT_OFF) facts.push(t`cut off`);
  if (reply[TOKENS] !== null) facts.push(t`${reply[TOKENS]} tokens`);
  if (reply[REWARDS]) facts.push(t`reward ${reply[REWARDS][0]}`);
  return facts.filter(Boolean).join(", ");
}

// What stands between spaces; in scripts that write none between words, each word, where the browser can tell.
const UNSPACED = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;
const segmenter = "Segmenter" in Intl ? new Intl.Segmenter([], { granularity: "word" }) : null;
const wordsOf = (text) => (text.match(/\s+|[^\s]+/g) ?? []).flatMap((piece) =>
  segmenter && UNSPACED.test(piece) ? Array.from(segmenter.segment(piece), (each) => each.segment) : [piece]);

// Two replies word by word, with what only one of them has highlighted; nothing where there are not two or they are too long.
function highlighted(replies) {
  if (replies.length !== 2 || !replies[0] || !replies[1]) return [];
  const [one, two] = replies.map((reply) => wordsOf(visible(reply[TEXT])));
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
