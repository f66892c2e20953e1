// Every text of the page, in each language, and the language that is shown.
// A text may hold `{name}`, where a value stands.

import { local } from "./storage.js";

/** The texts. All tables have the same keys. */
export const TABLES = {
  en: {
    // Any text that is no phrase
    asIs: "{text}",
    skip: "To the question",
    chat: "Chat",
    // Toolbar
    toolbar: "Conversation",
    history: "History",
    model: "Model",
    left: "Left",
    right: "Right",
    modelLeft: "Left model",
    modelRight: "Right model",
    baseModel: "{id} (base)",
    sideBySide: "Side by side",
    newChat: "New chat",
    clear: "Clear",
    settings: "Settings",
    settingsChanged: "Settings •",
    settingsChangedLabel: "Settings, some changed",
    // Messages
    messages: "Messages",
    empty: "Ask something, and the model you chose answers.",
    emptySideBySide: "Ask something, and both models answer, each in its own thread.",
    you: "You",
    answerOf: "Answer of {model}",
    edit: "Edit",
    editLabel: "Your question, edited",
    copy: "Copy",
    copied: "Copied",
    notCopied: "Not copied",
    copyCode: "Copy the code",
    regenerate: "Regenerate",
    cancel: "Cancel",
    // Figures of an answer
    tokens: "Tokens: {tokens}",
    tokensAbout: "Tokens: about {tokens}",
    rate: "{rate} a second",
    firstAfter: "the first after {first}\u00a0s",
    seedWas: "seed {seed}",
    finishLength: "Cut off at the limit of tokens",
    finishRepetition: "Ended because it repeated itself",
    finishStopped: "Stopped",
    finishOther: "Ended: {finish}",
    // Question
    question: "Your question",
    questionHint: "Ask something (Enter sends, Shift+Enter makes a new line)",
    send: "Send",
    stop: "Stop",
    // Settings
    system: "System prompt",
    systemOwn: "Each model's own",
    systemNone: "The model has none of its own",
    systemNote: "If empty, the model's own is used.",
    sampling: "Sampling",
    temperature: "Temperature",
    top_p: "Top p",
    top_k: "Top k",
    repetition_penalty: "Repetition penalty",
    max_tokens: "Most tokens of an answer",
    seed: "Seed",
    seedNone: "random",
    ownValue: "the model's own",
    samplingNote: "Only what you change is sent; the rest is the model's own. A temperature of 0 always takes the likeliest token.",
    outOfRange: "A number from {min} to {max}",
    outOfRangeAbove: "A number above {min}, at most {max}",
    outOfRangeWhole: "A whole number from {min} to {max}",
    reset: "Reset to the model's own",
    close: "Close",
    // History
    historyNote: "Kept in this browser only.",
    historyEmpty: "No conversations yet.",
    openConversation: "Open: {title}",
    exportConversation: "Export as JSON: {title}",
    deleteConversation: "Delete: {title}",
    export: "Export",
    delete: "Delete",
    untitled: "Untitled",
    // Notices
    notices: "Notices",
    dismiss: "Dismiss",
    undo: "Undo",
    retry: "Try again",
    deleted: "Deleted: {title}",
    notKept: "This browser has no room left, or does not allow it: the conversation is there until you close the page. Delete or export old ones.",
    modelGone: "{gone} is not here any more; {model} answers now.",
    noModels: "The server has no models.",
    modelsFailed: "The models could not be listed. {reason}",
    // Errors
    errorUnreachable: "The server cannot be reached. Is it still running?",
    errorBroken: "The connection ended in the middle of the answer.",
    errorKey: "The server wants an API key. {message}",
    errorBusy: "The server is busy. {message}",
    errorBusyFor: "The server is busy; try again in {seconds} s. {message}",
    errorUnavailable: "The server does not take requests now. {message}",
    errorRefused: "{message} ({status})",
    // API key
    keyTitle: "API key",
    keyWanted: "This server answers only with a key.",
    keyRefused: "The server did not accept this key.",
    key: "Key",
    keyKept: "Kept in this tab until you close it.",
    use: "Use",
  },
  zh: {
    // Any text that is no phrase
    asIs: "{text}",
    skip: "跳到提问框",
    chat: "对话",
    // Toolbar
    toolbar: "对话操作",
    history: "历史",
    model: "模型",
    left: "左",
    right: "右",
    modelLeft: "左侧模型",
    modelRight: "右侧模型",
    baseModel: "{id}（原模型）",
    sideBySide: "并排对比",
    newChat: "新对话",
    clear: "清空",
    settings: "设置",
    settingsChanged: "设置 •",
    settingsChangedLabel: "设置（有改动）",
    // Messages
    messages: "消息",
    empty: "问点什么，由你选的模型来回答。",
    emptySideBySide: "问点什么，两个模型同时回答，各自记着自己的上下文。",
    you: "你",
    answerOf: "{model} 的回答",
    edit: "编辑",
    editLabel: "修改你的问题",
    copy: "复制",
    copied: "已复制",
    notCopied: "未能复制",
    copyCode: "复制代码",
    regenerate: "重新生成",
    cancel: "取消",
    // Figures of an answer
    tokens: "{tokens} 个 token",
    tokensAbout: "约 {tokens} 个 token",
    rate: "每秒 {rate} 个",
    firstAfter: "首个用时 {first}\u00a0秒",
    seedWas: "随机种子 {seed}",
    finishLength: "达到 token 上限，已截断",
    finishRepetition: "因重复而结束",
    finishStopped: "已停止",
    finishOther: "已结束：{finish}",
    // Question
    question: "你的问题",
    questionHint: "问点什么（Enter 发送，Shift+Enter 换行）",
    send: "发送",
    stop: "停止",
    // Settings
    system: "系统提示词",
    systemOwn: "各模型用各自的",
    systemNone: "该模型没有自带的系统提示词",
    systemNote: "留空则使用模型自带的。",
    sampling: "采样",
    temperature: "温度 temperature",
    top_p: "top_p",
    top_k: "top_k",
    repetition_penalty: "重复惩罚 repetition_penalty",
    max_tokens: "回答最多 token 数",
    seed: "随机种子 seed",
    seedNone: "随机",
    ownValue: "模型自带",
    samplingNote: "只发送你改动过的项，其余使用模型自带的值。温度为 0 时总是取概率最大的 token。",
    outOfRange: "请填 {min} 到 {max} 之间的数",
    outOfRangeAbove: "请填大于 {min}、不超过 {max} 的数",
    outOfRangeWhole: "请填 {min} 到 {max} 之间的整数",
    reset: "恢复模型自带的值",
    close: "关闭",
    // History
    historyNote: "只保存在此浏览器中。",
    historyEmpty: "还没有对话。",
    openConversation: "打开：{title}",
    exportConversation: "导出为 JSON：{title}",
    deleteConversation: "删除：{title}",
    export: "导出",
    delete: "删除",
    untitled: "无标题",
    // Notices
    notices: "通知",
    dismiss: "知道了",
    undo: "撤销",
    retry: "重试",
    deleted: "已删除：{title}",
    notKept: "浏览器空间不足或不允许保存：关闭页面后此对话将丢失。请删除或导出旧对话。",
    modelGone: "{gone} 已不可用，现在由 {model} 回答。",
    noModels: "服务器上没有模型。",
    modelsFailed: "无法获取模型列表。{reason}",
    // Errors
    errorUnreachable: "连接不到服务器。它还在运行吗？",
    errorBroken: "回答途中连接断开。",
    errorKey: "服务器需要 API 密钥。{message}",
    errorBusy: "服务器繁忙。{message}",
    errorBusyFor: "服务器繁忙，请在 {seconds} 秒后重试。{message}",
    errorUnavailable: "服务器暂不接受请求。{message}",
    errorRefused: "{message}（{status}）",
    // API key
    keyTitle: "API 密钥",
    keyWanted: "此服务器需要密钥才能使用。",
    keyRefused: "服务器没有接受这个密钥。",
    key: "密钥",
    keyKept: "只保存在此标签页中，关闭后即失效。",
    use: "使用",
  },
};

/** The languages: the id of the table, the `lang` attribute, and the name in the language itself. */
export const languages = [
  { id: "en", tag: "en", name: "English" },
  { id: "zh", tag: "zh-CN", name: "中文" },
];

const CHOICE = "retune.language";
const find = (id) => languages.find((each) => each.id === id);
let current = find(local.get(CHOICE)) ?? find(navigator.language.slice(0, 2).toLowerCase()) ?? languages[0];

export const language = () => current;

export function setLanguage(id) {
  current = find(id);
  local.set(CHOICE, id);
  localize(document);
  // What is not said through this module, such as a date, is written again by who wrote it.
  dispatchEvent(new Event("languagechange"));
}

/** A text in the language that is shown. Numbers are written as the language does. */
export function phrase(key, values = {}) {
  const template = TABLES[current.id][key] ?? key;
  return template.replace(/\{(\w+)\}/g, (_, name) => written(values[name] ?? ""));
}

function written(value) {
  if (typeof value !== "number") return String(value);
  return value.toLocaleString(current.tag, { maximumFractionDigits: value < 10 ? 2 : 1 });
}

// What each element says, so that it can be said again in another language.
const said = new WeakMap();

function say(node, slot, key, values) {
  if (!said.has(node)) said.set(node, new Map());
  said.get(node).set(slot, { key, values });
  node.dataset.said = "";
  write(node, slot, key, values);
}

function write(node, slot, key, values) {
  if (slot === "text") node.textContent = phrase(key, values);
  else node.setAttribute(slot, phrase(key, values));
}

export const setText = (node, key, values) => say(node, "text", key, values);
export const setLabel = (node, key, values) => say(node, "aria-label", key, values);
export const setPlaceholder = (node, key, values) => say(node, "placeholder", key, values);

/** Says everything under `root` again, in the language that is shown now. */
export function localize(root) {
  document.documentElement.lang = current.tag;
  for (const node of root.querySelectorAll("[data-said]")) {
    for (const [slot, { key, values }] of said.get(node) ?? []) write(node, slot, key, values);
  }
}
