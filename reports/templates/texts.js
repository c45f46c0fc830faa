// TEXTS is the table of reports/texts.py, empty on an English page. A tagged text has a hole for each of its values.
const word = (name) => TEXTS[name] ?? name;
function t(parts, ...values) {
  let next = 0;
  return word(parts.join("{}")).replace(/\{(\d*)\}/g, (_, at) => values[at || next++]);
}

