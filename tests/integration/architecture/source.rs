//! Just enough of Rust's lexical grammar to look for paths in code and not in comments or strings.

/// `text` with comments, strings and characters blanked by spaces; lines stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let rest = &chars[at..];
        let length = match rest {
            ['/', '/', ..] => rest.iter().position(|&c| c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest, 1),
            ['r', '"' | '#', ..] if !follows_word(&chars, at) => raw_string(rest).unwrap_or(0),
            ['\'', ..] => character(rest).unwrap_or(0),
            _ => 0,
        };
        if length == 0 {
            out.push(rest[0]);
            at += 1;
        } else {
            out.extend(rest[..length].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

/// `code` (from [`code_only`]) with every `#[cfg(test)] mod name { .. }` blanked.
pub(super) fn without_test_modules(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = code.to_string();
    let mut from = 0;
    while let Some(mark) = out[from..].find(MARK).map(|i| from + i) {
        let after = mark + MARK.len();
        from = after;
        let is_module =
            ["mod ", "pub mod ", "pub(crate) mod "].iter().any(|m| out[after..].trim_start().starts_with(m));
        let Some(open) = out[after..].find(['{', ';']).map(|i| after + i).filter(|&i| out.as_bytes()[i] == b'{') else {
            continue;
        };
        if is_module {
            let end = closing_brace(&out, open);
            let blank: String = out[mark..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            out.replace_range(mark..end, &blank);
        }
    }
    out
}

/// The words and signs of `code`, each with its line, counted from 1. `::` is one token.
pub(super) fn tokens(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = if is_word(first) {
                rest.find(|c| !is_word(c)).unwrap_or(rest.len())
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            found.push((number + 1, &rest[..length]));
            rest = rest[length..].trim_start();
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn follows_word(chars: &[char], at: usize) -> bool {
    at > 0 && is_word(chars[at - 1]) && !(chars[at - 1] == 'b' && (at < 2 || !is_word(chars[at - 2])))
}

fn block_comment(rest: &[char]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(rest: &[char], open: usize) -> usize {
    let mut at = open;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|&&c| c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let body = 2 + hashes;
    let end = (body..rest.len())
        .find(|&i| rest[i] == '"' && rest[i + 1..].iter().take_while(|&&c| c == '#').count() >= hashes)?;
    Some(end + 1 + hashes)
}

/// A character, not a lifetime: `'x'` or an escape.
fn character(rest: &[char]) -> Option<usize> {
    match rest {
        ['\'', '\\', ..] => rest[3..].iter().position(|&c| c == '\'').map(|i| i + 4),
        ['\'', _, '\'', ..] => Some(3),
        _ => None,
    }
}

fn closing_brace(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, c) in code[open..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + at + 1;
        }
    }
    code.len()
}

#[test]
fn comments_strings_and_characters_are_blanked_and_lines_stay() {
    let text = "a // crate::x\nb /* /* crate::y */ \n */ c \"crate:: \\\" z\" d r#\"crate::\"w\"# e 'f' '\\'' <'life> br\"crate::\" var";
    let code = code_only(text);
    assert!(!code.contains("crate"), "{code}");
    assert_eq!(code.lines().count(), text.lines().count());
    assert_eq!(code.split_whitespace().collect::<Vec<_>>(), ["a", "b", "c", "d", "e", "<'life>", "b", "var"]);
}

#[test]
fn test_modules_are_blanked_and_nothing_else() {
    let code = "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\n#[cfg(test)]\nmod more;\n#[cfg(test)]\nfn c() {}\nfn d() {}";
    let left = without_test_modules(code);
    assert!(!left.contains("fn b"), "{left}");
    assert!(["fn a", "mod more;", "fn c", "fn d"].iter().all(|kept| left.contains(kept)), "{left}");
    assert_eq!(left.lines().count(), code.lines().count());
}

#[test]
fn tokens_know_their_lines() {
    assert_eq!(tokens("use a::b;\n  x"), [(1, "use"), (1, "a"), (1, "::"), (1, "b"), (1, ";"), (2, "x")]);
}
