//! Partial masks. Must never show a value because it was short, nor an e-mail's domain when it
//! is not one address.

use sluicegate_policies::Mask;

use super::{normalize::address, value::Form};

pub(crate) fn mask(mask: Mask, text: &str, out: &mut String) -> Option<Form> {
    if mask.email {
        let (local, domain) = address(text)?;
        stretch(mask, local, out);
        out.push('@');
        out.push_str(domain);
    } else {
        stretch(mask, text, out);
    }
    Some(Form::Text)
}

fn stretch(mask: Mask, text: &str, out: &mut String) {
    let count = text.chars().count();
    let (first, last) = (usize::from(mask.first), usize::from(mask.last));
    let (first, last) = if count > first + last { (first, last) } else { (0, 0) };
    let hidden = count - first - last;
    out.extend(text.chars().take(first));
    out.extend(std::iter::repeat_n(mask.with, mask.length.map_or(hidden, usize::from)));
    out.extend(text.chars().skip(count - last));
}
