"use strict";
// The status page: a plain client of the API, with the session cookie of a login link or a password.

const TEXTS = {
  en: {
    project: "Project", login: "Log in", logout: "Log out", user: "User", password: "Password",
    loginHint: "Or open a link made with `modelyard login --link`.",
    services: "Services", models: "Models", events: "Events", name: "Name", state: "State", ready: "Ready",
    model: "Model", revision: "Revision", requests: "Requests", address: "Address", latest: "Latest",
    aliases: "Aliases", description: "Description", at: "Time", what: "What", reason: "Reason", by: "By",
    message: "Message", none: "Nothing here yet.", away: "The control plane does not answer; services go on.",
    language: "中文",
    nodes: "Nodes", classes: "For", cpu: "Cores reserved", memory: "Memory reserved", gpus: "GPUs", replicas: "Replicas",
    yes: "yes", no: "no", free: "free", of: "of", control: "control", compute: "compute", deploy: "deploy",
    Running: "Running", Failed: "Failed", Pending: "Pending", Degraded: "Degraded", Starting: "Starting",
    Offline: "Offline", Asleep: "Asleep", Deleting: "Deleting",
  },
  zh: {
    project: "项目", login: "登录", logout: "退出", user: "用户", password: "密码",
    loginHint: "也可以打开 `modelyard login --link` 生成的链接。",
    services: "服务", models: "模型", events: "事件", name: "名称", state: "状态", ready: "就绪",
    model: "模型", revision: "修订", requests: "请求数", address: "地址", latest: "最新版本",
    aliases: "别名", description: "说明", at: "时间", what: "对象", reason: "原因", by: "操作者",
    message: "消息", none: "暂无内容。", away: "控制面没有响应；服务仍在运行。",
    language: "English",
    nodes: "节点", classes: "用途", cpu: "已预留核心", memory: "已预留内存", gpus: "GPU", replicas: "副本",
    yes: "是", no: "否", free: "空闲", of: "/", control: "控制", compute: "计算", deploy: "部署",
    Running: "运行中", Failed: "失败", Pending: "等待资源", Degraded: "降级", Starting: "启动中",
    Offline: "离线", Asleep: "休眠", Deleting: "删除中",
  },
};
const REFRESH_MS = 2000;
const NODES_MS = 10000;
let nodesDue = 0;
const find = (id) => document.getElementById(id);
let language = localStorage.getItem("language") || (navigator.language.startsWith("zh") ? "zh" : "en");
let project = localStorage.getItem("project") || "default";
const t = (key) => TEXTS[language][key] || key;

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  find("language").textContent = t("language");
}

async function call(path, options = {}) {
  const response = await fetch(`/api/v1${path}`, { credentials: "same-origin", ...options });
  if (response.status === 401) throw new Unauthenticated();
  if (!response.ok) throw new Error((await response.json().catch(() => ({}))).detail || `HTTP ${response.status}`);
  return response.status === 204 ? null : response.json();
}

class Unauthenticated extends Error {}

function cell(row, content, className) {
  const element = row.insertCell();
  if (className) element.className = className;
  if (content instanceof Node) element.append(content); else element.textContent = content ?? "";
  return element;
}

function fill(id, items, draw) {
  const body = find(id).tBodies[0];
  body.replaceChildren();
  for (const item of items) draw(body.insertRow(), item);
  if (!items.length) {
    const empty = cell(body.insertRow(), t("none"), "empty");
    empty.colSpan = find(id).tHead.rows[0].cells.length;
  }
}

function drawService(row, service, counted) {
  cell(row, service.stage === "production" ? service.name : `${service.name}@${service.stage}`);
  const state = cell(row, "");
  const word = Object.assign(document.createElement("span"), { className: service.state, textContent: t(service.state) });
  state.append(word);
  if (service.message) {
    state.append(Object.assign(document.createElement("span"), { className: "message", textContent: service.message }));
  }
  cell(row, `${service.status.ready_replicas}/${service.wanted_replicas}`);
  cell(row, service.spec.model);
  cell(row, service.revision);
  cell(row, counted ?? "");
  cell(row, service.url, "address");
}

function bar(used, most, words) {
  const meter = Object.assign(document.createElement("meter"), { max: Math.max(most, 1), value: used, title: words });
  meter.high = meter.max * 0.9;
  const both = document.createElement("span");
  both.className = "bar";
  both.append(words, meter);
  return both;
}

const cores = (millis) => `${millis / 1000}`;
const gib = (bytes) => `${(bytes / 2 ** 30).toFixed(1)} GiB`;

function lines(texts) {
  const list = document.createElement("ul");
  for (const text of texts) list.append(Object.assign(document.createElement("li"), { textContent: text }));
  return list;
}

function drawNode(row, node) {
  cell(row, node.name);
  cell(row, node.classes.map(t).join(", "));
  const ready = cell(row, "");
  const word = { className: node.ready ? "Running" : "Failed", textContent: t(node.ready ? "yes" : "no") };
  ready.append(Object.assign(document.createElement("span"), word));
  if (node.reason) ready.append(Object.assign(document.createElement("span"), { className: "message", textContent: node.reason }));
  const { reserved_cpu_millis: cpu, reserved_memory_bytes: memory } = node;
  cell(row, bar(cpu, node.cpu_millis, `${cores(cpu)} ${t("of")} ${cores(node.cpu_millis)}`));
  cell(row, bar(memory, node.memory_bytes, `${gib(memory)} ${t("of")} ${gib(node.memory_bytes)}`));
  const held = node.gpus.filter((each) => each.holder).length;
  const cards = cell(row, node.gpus.length ? bar(held, node.gpus.length, `${held} ${t("of")} ${node.gpus.length}`) : "");
  const parts = Object.entries(node.parts).map(([name, amount]) => `${name}: ${amount}`);
  cards.append(lines([...node.gpus.map((each) => `${each.index} ${each.name}: ${each.holder || t("free")}`), ...parts]));
  cell(row, lines(node.replicas));
}

async function refreshNodes() {
  if (Date.now() < nodesDue) return;
  nodesDue = Date.now() + NODES_MS;
  fill("nodes", (await call("/nodes")).items, drawNode);
}

async function refresh() {
  try {
    const me = await call("/whoami");
    find("account").textContent = me.name;
    const [projects, services, models, events, endpoints] = await Promise.all([
      call("/projects?limit=1000"), call(`/projects/${project}/deployments?limit=1000`),
      call(`/projects/${project}/models?limit=1000`), call(`/projects/${project}/events?limit=20`),
      call(`/projects/${project}/endpoints`),
    ]);
    const counts = Object.fromEntries(endpoints.items.map((each) => [each.service, each.requests]));
    drawProjects(projects.items);
    fill("services", services.items, (row, each) =>
      drawService(row, each, counts[each.stage === "production" ? each.name : `${each.name}@${each.stage}`]));
    fill("models", models.items, (row, each) => {
      cell(row, each.name); cell(row, each.latest);
      cell(row, Object.entries(each.aliases).map(([name, version]) => `${name}=${version}`).join(", "));
      cell(row, each.description);
    });
    fill("events", events.items, (row, each) => {
      cell(row, new Date(each.at).toLocaleString(document.documentElement.lang));
      cell(row, `${each.kind} ${each.name}`); cell(row, each.reason); cell(row, each.actor); cell(row, each.message);
    });
    show(true);
    await refreshNodes();
    find("status").textContent = "";
  } catch (error) {
    if (error instanceof Unauthenticated) show(false);
    else find("status").textContent = error instanceof TypeError ? t("away") : error.message;
  }
}

function drawProjects(projects) {
  const select = find("project");
  if (select.options.length === projects.length) return;
  select.replaceChildren(...projects.map((each) => new Option(each.name, each.name, false, each.name === project)));
}

function show(loggedIn) {
  find("content").hidden = find("logout").hidden = !loggedIn;
  find("login").hidden = loggedIn;
}

find("language").addEventListener("click", () => {
  language = language === "zh" ? "en" : "zh";
  localStorage.setItem("language", language);
  translate();
  nodesDue = 0;
  refresh();
});
find("project").addEventListener("change", (event) => {
  project = event.target.value;
  localStorage.setItem("project", project);
  refresh();
});
find("logout").addEventListener("click", async () => {
  await call("/logout", { method: "POST" }).catch(() => null);
  show(false);
});
find("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = new FormData(event.target);
  try {
    await call("/login?session=true", {
      method: "POST", headers: { "content-type": "application/json" },
      body: JSON.stringify({ user: form.get("user"), password: form.get("password") }),
    });
    find("login-error").textContent = "";
    nodesDue = 0;
    event.target.reset();
    refresh();
  } catch (error) {
    find("login-error").textContent = error.message;
  }
});
translate();
refresh();
setInterval(() => { if (!document.hidden && find("login").hidden) refresh(); }, REFRESH_MS);
