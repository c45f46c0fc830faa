"use strict";
const picks = document.querySelectorAll("input[data-word]");
const command = document.getElementById("command");
const hint = document.getElementById("hint");

function show() {
  const picked = [...picks].filter((each) => each.checked);
  const data = new Set(picked.map((each) => each.dataset.dataset));
  command.hidden = picked.length < 2;
  command.textContent = ["harness", "compare", ...picked.map((each) => each.dataset.word)].join(" ");
  hint.textContent =
    picked.length < 2 ? `Pick ${picked.length ? "one more run" : "two runs or more"} to compare them.`
    : data.size > 1 ? "These runs have different data: only runs with common problems can be compared."
    : "The first is the baseline. Type this where `harness view` was run:";
}

for (const each of picks) each.addEventListener("change", show);
document.getElementById("picker").hidden = false;
show();
