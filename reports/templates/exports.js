// Replies as files and as Markdown. A record is one reply, whose text is as the model generated it.
function recordsOf([question, answer, kind, change, replies, problem, index], sides, rewards) {
  return replies.flatMap((reply, place) => reply ? [{
    problem_id: problem, index, change, kind, question, answer, side: sides[place], reply: reply[TEXT],
    extracted: reply[EXTRACTED],
    correct: reply[FLAGS] & UNSCORED ? null : Boolean(reply[FLAGS] & CORRECT),
    in_format: Boolean(reply[FLAGS] & IN_FORMAT),
    correct_and_in_format: reply[FLAGS] & UNSCORED ? null : Boolean(reply[FLAGS] & CORRECT_IN_FORMAT),
    cut_off: Boolean(reply[FLAGS] & CUT_OFF),
    language: reply[LANGUAGE], tokens: reply[TOKENS],
    ...Object.fromEntries(rewards.map((name, at) => [at ? `reward/${name}` : "reward", reply[REWARDS]?.[at] ?? null])),
  }] : []);
}

const jsonl = (records) => records.map((record) => `${JSON.stringify(record)}\n`).join("");

// What a spreadsheet would take as a formula gets an apostrophe in front, and so stays text. Excel reads UTF-8 by its mark.
function csv(records) {
  const cell = (value) => {
    if (typeof value !== "string") return String(value ?? "");
    const text = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20]|^[\t\r\n]/.test(value) ? `'${value}` : value;
    return `"${text.replaceAll('"', '""')}"`;
  };
  const rows = [Object.keys(records[0] ?? {}), ...records.map(Object.values)];
  return `\ufeff${rows.map((row) => `${row.map(cell).join(",")}\r\n`).join("")}`;
}

function markdownOf([question, answer, , change, replies], sides, id) {
  const fenced = (text) => {
    const fence = "`".repeat(Math.max(2, ...(text.match(/`+/g) ?? []).map((run) => run.length)) + 1);
    return `${fence}text\n${visible(text)}\n${fence}`;
  };
  const asked = [t`Question and true answer`, fenced(`${question}\n\n${answer ?? t`not known`}`)];
  const replied = replies.flatMap((reply, place) =>
    reply ? [fenced(`${word(sides[place])}: ${scoreOf(reply)}`), fenced(reply[TEXT])] : []);
  return [...asked, sides.length > 1 ? t`Replies (${word(change)})` : t`Reply`, ...replied, `\`#reply=${id}\``].join("\n\n") + "\n";
}

function download(name, type, text) {
  const link = make("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
