//! Personal data and secrets, and what only looks like them.

use std::ops::Range;

use retune_data::text::personal::PersonalKind::{
    ApiKey, BankCard, EmailAddress, IdentityNumber, JsonWebToken, MobileNumber, PhoneNumber,
    PrivateKey,
};
use retune_data::text::personal::{PersonalKind, find_personal, mask};

/// A check character as GB 11643-1999 has it, by its other definition: the
/// weighted sum of all eighteen is 1 modulo 11, with weights `2^(17 - i)`.
fn identity(body: &str) -> String {
    let sum: u32 = body
        .chars()
        .enumerate()
        .map(|(i, c)| c.to_digit(10).unwrap() * (2u32.pow(17 - i as u32) % 11))
        .sum();
    let check = (0..11).find(|check| (sum + check) % 11 == 1).unwrap();
    let check = char::from_digit(check, 10).map_or('X', |digit| digit);
    format!("{body}{check}")
}

fn found(text: &str) -> Vec<(PersonalKind, &str)> {
    let found = find_personal(text).into_iter();
    found.map(|p| (p.kind, &text[p.range])).collect()
}

#[test]
fn personal_data_is_found() {
    let cases = [
        (MobileNumber, "电话13812345679，", "13812345679"),
        (MobileNumber, "138-1234-5679", "138-1234-5679"),
        (MobileNumber, "打 138 1234 5679 吧", "138 1234 5679"),
        (MobileNumber, "+8613812345679", "+8613812345679"),
        (MobileNumber, "(+86) 13812345679", "(+86) 13812345679"),
        (MobileNumber, "+86 138-1234-5679。", "+86 138-1234-5679"),
        (MobileNumber, "0086-13812345679", "0086-13812345679"),
        (
            PhoneNumber,
            "call +1 (415) 555-2671 now",
            "+1 (415) 555-2671",
        ),
        (PhoneNumber, "+44 20 7946 0958", "+44 20 7946 0958"),
        (PhoneNumber, "+14155552671", "+14155552671"),
        (PhoneNumber, "(415) 555-2671", "(415) 555-2671"),
        (PhoneNumber, "Call 415-555-2671.", "415-555-2671"),
        (PhoneNumber, "客服010-62781234转1", "010-62781234"),
        (PhoneNumber, "0755-26781234", "0755-26781234"),
        (
            EmailAddress,
            "写信给zhang.san+a@mail.pku.edu.cn。",
            "zhang.san+a@mail.pku.edu.cn",
        ),
        (EmailAddress, "<13812345679@qq.com>", "13812345679@qq.com"),
        (EmailAddress, "to me@gmail.com.", "me@gmail.com"),
        (BankCard, "卡号6222021001116245702,", "6222021001116245702"),
        (BankCard, "4111 1111 1111 1111", "4111 1111 1111 1111"),
        (BankCard, "5500-0055-5555-5559", "5500-0055-5555-5559"),
        (BankCard, "3782 822463 10005", "3782 822463 10005"),
        (
            PrivateKey,
            "-----BEGIN RSA PRIVATE KEY-----\nMII",
            "-----BEGIN RSA PRIVATE KEY-----",
        ),
        (
            PrivateKey,
            "-----BEGIN PRIVATE KEY-----",
            "-----BEGIN PRIVATE KEY-----",
        ),
    ];
    for (kind, text, part) in cases {
        assert!(
            kind != BankCard || passes_luhn(part),
            "{part} is no card number"
        );
        assert_eq!(found(text), [(kind, part)], "{text}");
    }
}

/// Luhn's check by its table of doubled digits.
fn passes_luhn(card: &str) -> bool {
    const DOUBLED: [u32; 10] = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9];
    let digits: Vec<u32> = card.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, d)| if i % 2 == 1 { DOUBLED[*d as usize] } else { *d })
        .sum();
    sum.is_multiple_of(10)
}

#[test]
fn identity_numbers_are_checked() {
    // The published example of the standard.
    assert_eq!(identity("11010519491231002"), "11010519491231002X");
    for body in [
        "11010519491231002",
        "44030120000229123",
        "31011519991130456",
    ] {
        let number = identity(body);
        assert_eq!(
            found(&format!("身份证{number}。")),
            [(IdentityNumber, number.as_str())]
        );
        let lower = number.to_lowercase();
        assert_eq!(found(&lower), [(IdentityNumber, lower.as_str())]);
        let (region, date, rest) = (&number[..6], &number[6..14], &number[14..]);
        let spaced = format!("{region} {date} {rest}");
        assert_eq!(found(&spaced), [(IdentityNumber, spaced.as_str())]);
        for wrong in 0..=9 {
            let other = format!("{body}{wrong}");
            assert!(other == number || found(&other).is_empty(), "{other}");
        }
    }
    // Regions and dates that there are not.
    for body in [
        "99010519491231002",
        "11010519491331002",
        "11010519490230002",
        "11010519000229002",
    ] {
        assert_eq!(found(&identity(body)), [], "{body}");
    }
}

/// Keys of the right shape; put together here, so that no scanner takes this
/// file for a leak.
#[test]
fn secrets_are_found() {
    let random = "Ab3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3hJ6lM9n";
    let tail = |len: usize| random.repeat(3)[..len].to_owned();
    let keys = [
        format!("sk-{}", tail(48)),
        format!("sk-proj-{}", tail(60)),
        format!("sk-ant-api03-{}", tail(80)),
        format!("AKIA{}", tail(16).to_uppercase()),
        format!("ghp_{}", tail(36)),
        format!("gho_{}", tail(36)),
        format!("github_pat_{}", tail(60)),
        format!("AIza{}", tail(35)),
        format!("xoxb-123456789012-{}", tail(24)),
        format!("hf_{}", tail(34)),
        format!("LTAI{}", tail(20)),
        format!("glpat-{}", tail(20)),
    ];
    for key in keys {
        for text in [
            key.clone(),
            format!("密钥是{key}。"),
            format!("API_KEY=\"{key}\""),
        ] {
            assert_eq!(found(&text), [(ApiKey, key.as_str())], "{text}");
        }
    }
    let token = format!("eyJ{}.eyJ{}.{}", tail(20), tail(40), tail(43));
    assert_eq!(
        found(&format!("Bearer {token}")),
        [(JsonWebToken, token.as_str())]
    );
}

#[test]
fn other_numbers_and_words_are_left_alone() {
    let cases = [
        "价格 13,812,345,679 元，即 138.12 元",
        "2024-01-15 12:30:45, 20240115123045",
        "1700000000000 毫秒",
        "ISBN 978-7-302-12345-6",
        "9787302123456",
        "圆周率3.14159265358979323846",
        "订单号 1381234567899",
        "id_13812345679",
        "a13812345679",
        "13812345679.5",
        "13812345679%",
        "x = -13812345679",
        "https://weibo.com/13812345679",
        "12812345679",
        "13800000000",
        "1234-5678-9012-3456",
        "4111111111111112",
        "41111111111111111111111111",
        "第 1234 5678 页",
        "192.168.1.1:8080",
        "800-555-2671 是免费电话",
        "400-810-6666",
        "1998-2008, 010-2024",
        "1 + 2 + 3 = 6, +5",
        "foo@bar, @someone 你好",
        "user@localhost, a@example.com, icon@2x.png",
        "git@github.com:rust-lang/rust.git",
        "sk-learn-is-a-library-for-machine-learning",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "task-1234567890abcdefghijklmn",
        "AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN PUBLIC KEY-----",
        "-----BEGIN CERTIFICATE-----",
        "0.13812345679",
        "2的64次方是18446744073709551616",
        "sha256: 6222021001116245702abcdef",
    ];
    for text in cases {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn several_in_one_text_come_in_order() {
    let text = "张三 13812345679 / 13912345678，zhang@pku.edu.cn";
    let kinds: Vec<PersonalKind> = found(text).iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [MobileNumber, MobileNumber, EmailAddress]);
    assert_eq!(found("13812345679 13912345678").len(), 2);
}

#[test]
fn masks_give_little_away() {
    assert_eq!(mask("电话13812345679", 6..17), "13********9");
    assert_eq!(mask("me@gmail.com", 0..12), "me@********m");
    assert_eq!(mask("abc", 0..3), "***");
    let long = "x".repeat(200);
    assert_eq!(mask(&long, 0..200), "xxx********xx");
    // No span of the text.
    let backwards = Range { start: 3, end: 1 };
    for range in [1..2, 0..99, backwards] {
        assert_eq!(mask("电话", range), "");
    }
}
