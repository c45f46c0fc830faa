const command = document.getElementById("command");
const hint = document.getElementById("hint");
let picked = [];

function show() {
  const datasets = new Set(picked.map((each) => each.dataset.dataset));
  command.hidden = picked.length < 2;
  command.textContent = ["harness", "compare", ...picked.map((each) => each.dataset.word)].join(" ");
  hint.textContent =
    picked.length < 2 ? (picked.length ? t`Pick one more run to compare them.` : t`Pick two runs or more to compare them.`)
    : datasets.size > 1 ? t`These runs have different data: only runs with common problems can be compared.`
    : t`The first that was picked is the baseline. Type this where harness view was run:`;
}

for (const each of document.querySelectorAll("input[data-word]")) {
  // A browser that goes back to the page may have kept what was picked.
  if (each.checked) picked.push(each);
  each.addEventListener("change", () => {
    picked = picked.filter((other) => other !== each);
    if (each.checked) picked.push(each);
    show();
  });
}
document.getElementById("picker").hidden = false;
show();
