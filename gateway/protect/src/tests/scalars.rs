//! Each transform by table: a JSON scalar in, a JSON scalar out. `-`: it does not fit, and is
//! dropped.

use sluicegate_policies::{DatePart, Decimal, EventUnit, Generalize, Geo};

use super::*;

fn check(transform: &Transform, cases: &[(&str, &str)]) {
    let plan = plan(Unlisted::Drop, [field("a", transform.clone())]);
    for (given, expected) in cases {
        let left = apply(&plan, &format!(r#"{{"a":{given}}}"#));
        let expected =
            if *expected == "-" { "{}".to_owned() } else { format!(r#"{{"a":{expected}}}"#) };
        assert_eq!(left, expected, "{transform:?} of {given}");
    }
}

fn generalize(how: Generalize) -> Transform {
    Transform::Generalize(how)
}

fn decimal(digits: i64, scale: u8) -> Decimal {
    Decimal { digits, scale }
}

#[test]
fn masks() {
    check(
        &Transform::Mask(stars()),
        &[
            (r#""secret""#, r#""s****t""#),
            (r#""ab""#, r#""**""#),
            (r#""""#, r#""""#),
            (r#""äöü€""#, r#""ä**€""#),
            (r#""\"x\\""#, r#""\"*\\""#),
            ("12345", r#""1***5""#),
            ("12345.0", r#""1***5""#),
            ("1.2345e4", r#""1***5""#),
            ("true", r#""t**e""#),
        ],
    );
    check(
        &Transform::Mask(Mask { first: 0, length: Some(3), ..stars() }),
        &[(r#""4111111111111111""#, r#""***1""#), (r#""1""#, r#""***""#), (r#""""#, r#""***""#)],
    );
    check(
        &Transform::Mask(Mask { email: true, last: 0, ..stars() }),
        &[
            (r#""ada@example.com""#, r#""a**@example.com""#),
            (r#""a@example.com""#, r#""*@example.com""#),
            (r#""a@b@example.com""#, "-"),
            (r#""\"a b\"@example.com""#, r#""\"****@example.com""#),
            (r#""a@b.example, d@e.example""#, "-"),
            (r#""Ada <ada@example.com>""#, "-"),
            (r#""no address""#, "-"),
            (r#""@example.com""#, "-"),
            (r#""x@my home is 1 Main Street""#, "-"),
            (r#""x@a..b""#, "-"),
        ],
    );
}

fn date(part: DatePart, unit: EventUnit) -> Transform {
    generalize(Generalize::Date { part, unit })
}

#[test]
fn dates_are_those_that_are_written() {
    let rows = [
        (DatePart::Year, r#""2024""#, r#""2024""#, r#""1974""#),
        (DatePart::Quarter, r#""2024-Q2""#, r#""2024-Q2""#, r#""1974-Q4""#),
        (DatePart::Month, r#""2024-05""#, r#""2024-05""#, r#""1974-12""#),
        (DatePart::Day, r#""2024-05-17""#, r#""2024-05-17""#, r#""1974-12""#),
        (DatePart::Hour, r#""2024-05-16T23:00:00Z""#, r#""2024-05-17""#, r#""1974-12""#),
    ];
    for (part, moment, day, month) in rows {
        check(
            &date(part, EventUnit::Millis),
            &[
                (r#""2024-05-17T01:30:59.123+02:00""#, moment),
                (r#""2024-05-17""#, day),
                (r#""1974-12""#, month),
                (r#""1974""#, r#""1974""#),
                (r#""1715902259123""#, "-"),
                (r#""2024-02-30""#, "-"),
                (r#""2023-02-29""#, "-"),
                (r#""2024-13-01""#, "-"),
                (r#""2024-13""#, "-"),
                (r#""2024-05-17T24:00:00Z""#, "-"),
                (r#""2024-05-17T10:00:00""#, "-"),
                (r#""2024-05-17T10:00:00.Z""#, "-"),
                (r#""2024-05-17 or 18""#, "-"),
                (r#""17.05.2024""#, "-"),
                (r#""1974-1""#, "-"),
                (r#""197""#, "-"),
                (r#""+974""#, "-"),
                (r#""""#, "-"),
                ("true", "-"),
            ],
        );
    }
    check(
        &date(DatePart::Year, EventUnit::Rfc3339),
        &[
            (r#""1990-01-01T00:00:00+02:00""#, r#""1990""#),
            (r#""1990-12-31T23:30:00-05:00""#, r#""1990""#),
        ],
    );
    check(
        &date(DatePart::Hour, EventUnit::Rfc3339),
        &[
            (r#""2024-05-16t23:30:59z""#, r#""2024-05-16T23:00:00Z""#),
            (r#""1999-12-31T23:30:00-01:00""#, r#""2000-01-01T00:00:00Z""#),
            (r#""0000-01-01T00:00:00+00:01""#, "-"),
        ],
    );
}

#[test]
fn a_number_is_a_time_only_in_a_declared_unit() {
    let rows = [
        (DatePart::Year, "1704067200"),
        (DatePart::Quarter, "1711929600"),
        (DatePart::Month, "1714521600"),
        (DatePart::Day, "1715817600"),
        (DatePart::Hour, "1715900400"),
    ];
    for (part, seconds) in rows {
        let (ms, us) = (format!("{seconds}000"), format!("{seconds}000000"));
        check(
            &date(part, EventUnit::Seconds),
            &[("1715902259", seconds), ("1715902259.123", seconds), ("1.715902259e9", seconds)],
        );
        check(
            &date(part, EventUnit::Millis),
            &[("1715902259123", &ms), ("1.715902259123e12", &ms), ("1715902259123.0", &ms)],
        );
        check(&date(part, EventUnit::Micros), &[("1715902259123456", &us)]);
        // No calendar has these: milliseconds that were declared as seconds, too.
        for too_far in ["1e400", "-1e400", "1e999999999"] {
            check(&date(part, EventUnit::Micros), &[(too_far, "-")]);
        }
        check(&date(part, EventUnit::Seconds), &[("1715902259123", "-")]);
        for number in ["1715902259", "1715902259123", "1974", "0"] {
            check(&date(part, EventUnit::Rfc3339), &[(number, "-")]);
        }
    }
    check(&date(DatePart::Day, EventUnit::Millis), &[("-1", "-86400000"), ("-0.5", "-86400000")]);
}

#[test]
fn postal_codes_and_addresses() {
    check(
        &generalize(Generalize::PostalCode { keep: 3 }),
        &[
            (r#""90210""#, r#""902**""#),
            (r#""90210-1234""#, r#""902******""#),
            (r#""SW1A 1AA""#, r#""SW1****""#),
            (r#""123""#, r#""***""#),
            (r#""12""#, r#""**""#),
            (r#""""#, "-"),
            (r#""somewhere in London""#, "-"),
            (r#""London""#, "-"),
            ("2139", "-"),
        ],
    );
    check(
        &generalize(Generalize::Ip { v4: 24, v6: 48 }),
        &[
            (r#""203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""2001:db8:1:2::3""#, r#""2001:db8:1::/48""#),
            (r#""::ffff:203.0.113.77""#, r#""203.0.113.0/24""#),
            // The same host behind IPv4-compatible, translated, NAT64, 6to4, Teredo and ISATAP.
            (r#""::203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""::ffff:0:203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""64:ff9b::203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""2002:cb00:714d::1""#, r#""203.0.113.0/24""#),
            (r#""2001:0:c000:201:8000:63bf:34ff:8eb2""#, r#""203.0.113.0/24""#),
            (r#""2001:db8::5efe:cb00:714d""#, r#""203.0.113.0/24""#),
            (r#""fe80::200:5efe:203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""64:ff9b:1:cb00:71:4d00::""#, r#""64:ff9b:1::/48""#),
            (r#""::1""#, r#""::/48""#),
            (r#""203.0.113.77, 203.0.113.78""#, "-"),
            (r#""fe80::1%eth0""#, "-"),
            (r#""203.0.113.77:80""#, "-"),
            (r#""203.0.113""#, "-"),
            ("1", "-"),
        ],
    );
    check(
        &generalize(Generalize::Ip { v4: 24, v6: 128 }),
        &[
            (r#""64:ff9b:1:cb00:71:4d00::""#, r#""64:ff9b:1::/48""#),
            (r#""2002:cb00:714d::1""#, r#""203.0.113.0/24""#),
        ],
    );
    check(
        &generalize(Generalize::Ip { v4: 0, v6: 0 }),
        &[(r#""203.0.113.77""#, r#""0.0.0.0/0""#), (r#""2001:db8::3""#, r#""::/0""#)],
    );
}

#[test]
fn numbers() {
    check(
        &generalize(Generalize::Bucket { width: decimal(10, 0) }),
        &[
            ("34", r#""30-40""#),
            ("40", r#""40-50""#),
            ("39.999999999999999999999999", r#""30-40""#),
            ("-1", r#""-10-0""#),
            ("-0", r#""0-10""#),
            ("3.4e1", r#""30-40""#),
            ("9007199254740993", r#""9007199254740990-9007199254741000""#),
            (r#""34""#, r#""30-40""#),
            ("1e400", "-"),
            ("1e999999999", "-"),
            ("1e-400", r#""0-10""#),
            ("-1e-999999999", r#""-10-0""#),
            ("0e400", r#""0-10""#),
            (r#""34,5""#, "-"),
            (r#""0x10""#, "-"),
            (r#""01""#, "-"),
            ("true", "-"),
        ],
    );
    check(&generalize(Generalize::Bucket { width: decimal(5, 1) }), &[("1.7", r#""1.5-2.0""#)]);
    check(&generalize(Generalize::Bucket { width: decimal(0, 0) }), &[("1", "-")]);
    let edges = [decimal(18, 0), decimal(655, 1)];
    check(
        &generalize(Generalize::Edges(edges.into())),
        &[
            ("17.99", r#""<18""#),
            ("18", r#""18-65.5""#),
            ("65.5", r#""65.5+""#),
            ("1e3", r#""65.5+""#),
            ("1e400", r#""65.5+""#),
            ("-1e400", r#""<18""#),
        ],
    );
    check(&generalize(Generalize::Edges(Box::default())), &[("1", "-")]);
    check(
        &generalize(Generalize::Bound { bottom: Some(decimal(18, 0)), top: Some(decimal(90, 0)) }),
        &[
            ("17", "18"),
            ("18.00", "18.00"),
            ("9.1e1", "90"),
            (r#""120""#, r#""90""#),
            ("1e400", "90"),
            (r#""old""#, "-"),
        ],
    );
}

/// What sums and event times read.
#[test]
fn a_number_in_fixed_point_is_rounded_down_and_the_nearest_that_fits() {
    for (text, expected) in [
        ("12.5", Some(1250)),
        (" 12.509 ", Some(1250)),
        ("-0.001", Some(-1)),
        ("1e-400", Some(0)),
        ("1e30", Some(i64::MAX)),
        ("1e400", Some(i64::MAX)),
        ("-1e999999999", Some(i64::MIN)),
        ("12,50", None),
        ("$12", None),
    ] {
        assert_eq!(fixed_point(text, 2), expected, "{text}");
    }
}

#[test]
fn places() {
    check(
        &Transform::Geo(Geo::Decimals(2)),
        &[
            ("52.52437", "52.52"),
            ("-0.00999", "0"),
            ("-52.529", "-52.52"),
            ("5.252437e1", "52.52"),
            ("52", "52"),
            ("52.5", "52.5"),
            ("181", "-"),
            ("180.0000000000000000000000000000000000000000001", "-"),
            ("-1e400", "-"),
            (r#""52.52437, -13.41053""#, r#""52.52,-13.41""#),
            (r#""91.0,0""#, "-"),
            (r#""52.00437,13.00053""#, r#""52, 13""#),
            (r#""52, 13""#, r#""52, 13""#),
            (r#""52.524,13""#, r#""52.52,13""#),
            // One coordinate with a decimal comma, for all that can be told.
            (r#""48,123""#, "-"),
            (r#""48,123 ""#, "-"),
            (r#""48,123,16,371""#, "-"),
            (r#""48.123 16.371""#, "-"),
            (r#""1,2,3""#, "-"),
            (r#""here""#, "-"),
        ],
    );
    check(&Transform::Geo(Geo::Decimals(0)), &[("52.9", "52")]);
    check(
        &Transform::Geo(Geo::Geohash(5)),
        &[
            (r#""u33dc0cpke4h""#, r#""u33dc""#),
            (r#""u3""#, r#""u3""#),
            (r#""a house""#, "-"),
            (r#""52123456""#, "-"),
            (r#""Meyer""#, "-"),
            ("333", "-"),
        ],
    );
}

#[test]
fn a_constant_that_is_no_json_redacts() {
    check(&Transform::Constant("no json".into()), &[("1", r#""[redacted]""#)]);
}

/// The question put to each transform: a text with more than one value in it, or with one in a
/// spelling of elsewhere, is dropped whole.
#[test]
fn no_transform_keeps_any_of_what_it_cannot_tell() {
    let token = |normalizer| Transform::Tokenize(TokenUse { normalizer, ..token_use() });
    let transforms = [
        date(DatePart::Year, EventUnit::Rfc3339),
        date(DatePart::Hour, EventUnit::Seconds),
        generalize(Generalize::PostalCode { keep: 3 }),
        generalize(Generalize::Ip { v4: 24, v6: 48 }),
        generalize(Generalize::Bucket { width: decimal(10, 0) }),
        generalize(Generalize::Edges([decimal(18, 0)].into())),
        generalize(Generalize::Bound { bottom: None, top: Some(decimal(90, 0)) }),
        Transform::Geo(Geo::Decimals(1)),
        Transform::Geo(Geo::Geohash(4)),
        Transform::Mask(Mask { email: true, ..stars() }),
        token(Normalizer::EmailV2),
        token(Normalizer::PhoneV2),
        token(Normalizer::DigitsV2),
        token(Normalizer::CompactV2),
    ];
    let texts = [
        r#""48,123""#,
        r#""52.52,13.41;48.2,16.37""#,
        r#""a@b.example, d@e.example""#,
        r#""+49 30 1234567, +49 30 7654321""#,
        r#""4111 1111 1111 1111; 5500 0000 0000 0004""#,
        r#""1974-12-24, 1975-01-01""#,
        r#""203.0.113.77|203.0.113.78""#,
        r#""90210\n10001""#,
        r#""1,250.00""#,
        r#""-1,5""#,
    ];
    for transform in transforms {
        check(&transform, &texts.map(|text| (text, "-")));
    }
}
