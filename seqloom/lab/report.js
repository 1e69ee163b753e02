"use strict";
// Downloads of the embedded rows, and copying of the command; the page reads whole without it.
(function () {
  const source = document.getElementById("data");
  const save = (name, type, text) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    let text = typeof value === "object" ? JSON.stringify(value) : String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text; // a spreadsheet would run it
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  };
  const csv = () => {
    const rows = JSON.parse(source.textContent).rows;
    const labels = [...new Set(rows.flatMap((row) => Object.keys(row.labels)))];
    const fields = ["what", "value", "unit", "low", "high", "n", "kind"];
    const rest = ["spec", "machine", "time"];
    const lines = [[...fields, ...labels, ...rest].map(cell).join(",")];
    for (const row of rows) {
      lines.push([...fields.map((f) => row[f]), ...labels.map((l) => row.labels[l]), ...rest.map((f) => row[f])].map(cell).join(","));
    }
    return lines.join("\r\n") + "\r\n";
  };
  const on = (id, act) => {
    const button = document.getElementById(id);
    if (!button) return;
    button.hidden = false;
    button.addEventListener("click", () => act(button));
  };
  on("save-json", () => save("seqloom-report.json", "application/json", source.textContent));
  on("save-csv", () => save("seqloom-ledger.csv", "text/csv", csv()));
  on("copy", (button) => {
    const code = document.getElementById("command");
    const done = () => { button.textContent = "Copied"; setTimeout(() => { button.textContent = "Copy"; }, 1500); };
    const mark = () => getSelection().selectAllChildren(code);
    if (navigator.clipboard) navigator.clipboard.writeText(code.textContent).then(done, mark);
    else mark();
  });
})();
