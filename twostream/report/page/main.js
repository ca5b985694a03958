// The page from top to bottom.
document.title = `${data.title}: report`;
byId("title").textContent = data.title;
byId("command").hidden = !data.command;
byId("command").append(make("code", {}, data.command || ""));
byId("states").append(...Object.entries(data.states).map(([state, count]) => badge(state, `${count} ${state}`)));
byId("fixed").hidden = !data.fixed;
byId("fixed").textContent = `All runs: ${data.fixed}`;
results();
folds();
unfinished();
pivot();
curves();
confusion();
contributions();
document.querySelectorAll(".scroll").forEach(scrolls);
byId("notes").append(...data.notes.map((note) => make("li", {}, note)));
