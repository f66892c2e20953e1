// What the rules of `retune data lint` are called in other languages than English, in which
// their names speak for themselves.

import { language } from "./i18n.js";

const NAMES = {
  zh: new Map([
    ["unreadable-file", "文件无法读取"],
    ["unreadable-row", "行无法读取"],
    ["template-refuses", "对话模板拒绝该对话"],
    ["template-marker", "模板标记不是此分词器的特殊 token"],
    ["template-terminator", "模板未用特殊 token 结束一轮"],
    ["template-prefix", "训练与对话时的提示不一致"],
    ["template-stop", "一轮的结束 token 不会让生成停止"],
    ["template-date", "模板写入当天日期"],
    ["zero-label", "没有可学习的 token"],
    ["empty-answer", "回答为空"],
    ["foreign-marker", "混入其他模型的控制标记"],
    ["leakage", "验证集与训练集重复提问"],
    ["own-marker", "文本含本模型的控制标记"],
    ["role-order", "角色顺序不对"],
    ["over-long", "超过 max_length"],
    ["exact-duplicate", "完全重复"],
    ["near-duplicate", "近似重复"],
    ["conflicting-answers", "同一提问有不同回答"],
    ["empty-prompt", "提问为空"],
    ["short-answer", "回答过短"],
    ["repetitive-answer", "回答自我重复"],
    ["mojibake", "乱码"],
    ["control-character", "控制字符或不可见字符"],
    ["html", "含 HTML"],
    ["placeholder", "占位符未填写"],
    ["wrong-language", "回答语言与多数不同"],
    ["personal-data", "疑似个人信息或密钥"],
    ["repeated-phrase", "高频短语"],
    ["opening-skew", "开头雷同"],
    ["repeated-prompt", "提问重复多次"],
    ["length-skew", "个别回答过长"],
    ["class-imbalance", "类别不均衡"],
    ["unused-column", "有未读取的列"],
  ]),
};

/** The name of a rule in the language that is shown, or null if it has none. */
export const ruleName = (rule) => NAMES[language().id]?.get(rule) ?? null;
