//! Certificates that come near their end: one line in the log for each change of that.

use std::collections::BTreeMap;

/// A certificate that expires within this time is worth a line in the log.
const EXPIRES_SOON_S: i64 = 14 * 86_400;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Validity {
    Long,
    Soon,
    Over,
}

/// What was told of each listener's certificate and client authorities.
#[derive(Default)]
pub struct Expiries(BTreeMap<(String, &'static str), Validity>);

impl Expiries {
    /// Returns the event, if there is one to tell.
    pub fn note(
        &mut self,
        listener: &str,
        what: &'static str,
        at_s: i64,
        now_s: i64,
    ) -> Option<&'static str> {
        let left_s = at_s.saturating_sub(now_s);
        let validity = match left_s {
            ..=0 => Validity::Over,
            1..=EXPIRES_SOON_S => Validity::Soon,
            _ => Validity::Long,
        };
        if self.0.insert((listener.to_owned(), what), validity).unwrap_or(Validity::Long)
            == validity
        {
            return None;
        }
        let left_h = left_s / 3_600;
        match validity {
            Validity::Over => {
                tracing::error!(event = "certificate-expired", listener, what);
                Some("certificate-expired")
            }
            Validity::Soon => {
                tracing::warn!(event = "certificate-expires-soon", listener, what, left_h);
                Some("certificate-expires-soon")
            }
            // That it was replaced is told by the reload.
            Validity::Long => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_comes_near_its_end_is_told_once() {
        let (mut expiries, day, end) = (Expiries::default(), 86_400, 100 * 86_400);
        let mut told = |now_s, end| expiries.note("data", "certificate", end, now_s);
        assert_eq!(told(0, end), None);
        assert_eq!(told(end - 14 * day, end), Some("certificate-expires-soon"));
        assert_eq!(told(end - 1, end), None, "once");
        assert_eq!(told(end, end), Some("certificate-expired"));
        assert_eq!(told(end, 2 * end), None, "renewed");
        assert_eq!(told(2 * end - 1, 2 * end), Some("certificate-expires-soon"));
        assert_eq!(expiries.note("admin", "certificate", end, end), Some("certificate-expired"));
    }
}
