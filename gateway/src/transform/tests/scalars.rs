//! Each transform by table: a JSON scalar in, a JSON scalar out. `-`: it does not fit, and is
//! dropped.

use sluicegate_policies::{DatePart, Decimal, Generalise, Geo};

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

fn generalise(how: Generalise) -> Transform {
    Transform::Generalise(how)
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
            (r#""a@b@example.com""#, r#""a**@example.com""#),
            (r#""no address""#, "-"),
            (r#""@example.com""#, "-"),
            (r#""x@my home is 1 Main Street""#, "-"),
            (r#""x@a..b""#, "-"),
        ],
    );
}

#[test]
fn dates() {
    let rows = [
        (DatePart::Year, r#""2024""#, "1704067200000"),
        (DatePart::Quarter, r#""2024-Q2""#, "1711929600000"),
        (DatePart::Month, r#""2024-05""#, "1714521600000"),
        (DatePart::Day, r#""2024-05-16""#, "1715817600000"),
        (DatePart::Hour, r#""2024-05-16T23:00:00Z""#, "1715900400000"),
    ];
    for (part, text, ms) in rows {
        check(
            &generalise(Generalise::Date(part)),
            &[
                (r#""2024-05-17T01:30:59.123+02:00""#, text),
                (r#""2024-05-16t23:30:59z""#, text),
                ("1715902259123", ms),
                ("1.715902259123e12", ms),
                ("1.5", "-"),
                ("1e400", "-"),
                (r#""1715902259123""#, "-"),
                (r#""2024-02-30""#, "-"),
                (r#""2023-02-29""#, "-"),
                (r#""2024-13-01""#, "-"),
                (r#""2024-05-17T24:00:00Z""#, "-"),
                (r#""2024-05-17T10:00:00""#, "-"),
                (r#""2024-05-17T10:00:00.Z""#, "-"),
                (r#""0000-01-01T00:00:00+00:01""#, "-"),
                (r#""17.05.2024""#, "-"),
                (r#""""#, "-"),
                ("true", "-"),
            ],
        );
    }
    check(&generalise(Generalise::Date(DatePart::Hour)), &[(r#""2024-05-17""#, "-")]);
    check(
        &generalise(Generalise::Date(DatePart::Day)),
        &[
            (r#""2024-02-29""#, r#""2024-02-29""#),
            (r#""2000-01-01T00:30:00+01:00""#, r#""1999-12-31""#),
            ("-1", "-86400000"),
        ],
    );
}

#[test]
fn postal_codes_and_addresses() {
    check(
        &generalise(Generalise::Zip { keep: 3 }),
        &[
            (r#""90210""#, r#""902**""#),
            (r#""90210-1234""#, r#""902******""#),
            (r#""SW1A 1AA""#, r#""SW1****""#),
            (r#""123""#, r#""***""#),
            (r#""12""#, r#""**""#),
            (r#""""#, "-"),
            (r#""somewhere in London""#, "-"),
            ("2139", "-"),
        ],
    );
    check(
        &generalise(Generalise::Ip { v4: 24, v6: 48 }),
        &[
            (r#""203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""2001:db8:1:2::3""#, r#""2001:db8:1::/48""#),
            (r#""::ffff:203.0.113.77""#, r#""203.0.113.0/24""#),
            (r#""203.0.113.77:80""#, "-"),
            (r#""203.0.113""#, "-"),
            ("1", "-"),
        ],
    );
    check(
        &generalise(Generalise::Ip { v4: 0, v6: 0 }),
        &[(r#""203.0.113.77""#, r#""0.0.0.0/0""#), (r#""2001:db8::3""#, r#""::/0""#)],
    );
}

#[test]
fn numbers() {
    check(
        &generalise(Generalise::Bucket { width: decimal(10, 0) }),
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
            ("1e-400", "-"),
            ("0e400", r#""0-10""#),
            (r#""0x10""#, "-"),
            (r#""01""#, "-"),
            ("true", "-"),
        ],
    );
    check(&generalise(Generalise::Bucket { width: decimal(5, 1) }), &[("1.7", r#""1.5-2.0""#)]);
    check(&generalise(Generalise::Bucket { width: decimal(0, 0) }), &[("1", "-")]);
    let edges = [decimal(18, 0), decimal(655, 1)];
    check(
        &generalise(Generalise::Edges(edges.into())),
        &[
            ("17.99", r#""<18""#),
            ("18", r#""18-65.5""#),
            ("65.5", r#""65.5+""#),
            ("1e3", r#""65.5+""#),
        ],
    );
    check(&generalise(Generalise::Edges(Box::default())), &[("1", "-")]);
    check(
        &generalise(Generalise::Bound { bottom: Some(decimal(18, 0)), top: Some(decimal(90, 0)) }),
        &[
            ("17", "18"),
            ("18.00", "18.00"),
            ("9.1e1", "90"),
            (r#""120""#, r#""90""#),
            ("1e400", "-"),
            (r#""old""#, "-"),
        ],
    );
}

#[test]
fn places() {
    check(
        &Transform::Geo(Geo::Decimals(2)),
        &[
            ("52.52437", "52.52"),
            ("-0.00999", "0.00"),
            ("-52.529", "-52.52"),
            ("5.252437e1", "52.52"),
            ("52", "52"),
            ("181", "-"),
            (r#""52.52437, -13.41053""#, r#""52.52,-13.41""#),
            (r#""91,0""#, "-"),
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
            ("333", "-"),
        ],
    );
}

#[test]
fn a_constant_that_is_no_json_redacts() {
    check(&Transform::Constant("no json".into()), &[("1", r#""[redacted]""#)]);
}
