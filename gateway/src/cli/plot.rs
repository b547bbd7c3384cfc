//! `sluicegate policy plot`: drawings of how accuracy answers to a dial. Both axes are logarithmic, with a
//! line for each output, and what was declared marked on it.

use std::{ops::Range, path::PathBuf};

use plotters::{
    coord::{
        Shift,
        ranged1d::{DefaultFormatting, KeyPointHint, Ranged},
    },
    prelude::{
        Cartesian2d, ChartBuilder, ChartContext, Circle, DashedLineSeries, DrawingArea,
        IntoDrawingArea, IntoFont, LineSeries, PathElement, RGBColor, SVGBackend, Text, WHITE,
    },
    style::{
        Color, ShapeStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};
use sluicegate_policies::release::{
    Curve, Point, ReleasePlan, declared_by, error_by_epsilon, error_by_windows, panes_per_period,
};

use super::{Exit, Output, eprint, policy::release_of};

const SIZE: (u32, u32) = (960, 560);

/// Right of the axes: room for the names of the lines.
const MARGIN_RIGHT: u32 = 250;

/// Between the names of two lines, in pixels from top to top.
const NAME_HEIGHT: i32 = 20;

const INK: RGBColor = RGBColor(40, 40, 40);
const GRID: RGBColor = RGBColor(225, 225, 225);

/// Told apart also by people who see fewer colors (Okabe and Ito).
const COLORS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(120, 94, 0),
];

#[derive(clap::Args)]
pub(super) struct Args {
    /// The folder of policies
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The release
    #[arg(long, value_name = "NAME")]
    release: String,
    /// What the error is plotted against
    #[arg(long, value_enum, default_value = "epsilon")]
    against: Dial,
    /// The SVG file to write
    #[arg(long, value_name = "FILE.svg")]
    to: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Dial {
    /// The budget per person and period
    Epsilon,
    /// The number of windows per period that count one person
    Windows,
}

/// Places of the two dials, a few to each doubling.
const EPSILONS: [f64; 13] = [0.1, 0.15, 0.25, 0.4, 0.6, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 15.0, 25.0];
const WINDOWS: [u32; 14] = [1, 2, 3, 5, 7, 10, 15, 24, 36, 60, 100, 200, 500, 1_440];

fn drawn(plan: &ReleasePlan, against: Dial) -> Result<String, String> {
    let mut outputs = Vec::new();
    let declared = declared_by(plan, &mut outputs);
    let panes = plan.schedule.panes_per_window;
    let (curves, x) = match against {
        Dial::Epsilon => {
            (error_by_epsilon(&declared, panes, &EPSILONS), "epsilon per person and period")
        }
        Dial::Windows => {
            // No more than there are, and all of them.
            let most = u32::try_from(panes_per_period(plan)).unwrap_or(u32::MAX);
            let mut windows: Vec<u32> = WINDOWS.into_iter().filter(|k| *k < most).collect();
            windows.push(most);
            (
                error_by_windows(&declared, panes, &windows),
                "windows of a period in which a person is counted",
            )
        }
    };
    let title = format!("{}: 95 % error of a window's numbers", plan.name);
    let axes = Axes { title: &title, x, y: "95 % error, in the number's own unit" };
    svg(&curves, &axes).map_err(|error| error.to_string())
}

pub(super) fn run(Args { dir, release, against, to }: &Args) -> Exit {
    if to.extension().is_some_and(|kind| !kind.eq_ignore_ascii_case("svg")) {
        eprint(format!(
            "`{}`: a plot is an SVG; choose a file name that ends in `.svg`",
            to.display()
        ));
        return Exit::Usage;
    }
    let plan = match release_of(dir, release, Output::Human) {
        Ok((plan, _)) => plan,
        Err(exit) => return exit,
    };
    let svg = match drawn(&plan, *against) {
        Ok(svg) => svg,
        Err(error) => {
            eprint(error);
            return Exit::CheckFailed;
        }
    };
    match std::fs::write(to, svg) {
        Ok(()) => Exit::Ok,
        Err(error) => {
            eprint(format!("couldn't write `{}`: {}", to.display(), error.kind()));
            Exit::Usage
        }
    }
}

/// What surrounds the lines.
#[derive(Clone, Copy, Debug)]
struct Axes<'a> {
    title: &'a str,
    x: &'a str,
    y: &'a str,
}

#[derive(Debug, thiserror::Error)]
enum Undrawable {
    #[error("there is nothing to draw: no point on any line is above zero")]
    Empty,
    #[error("couldn't draw the plot: {0}")]
    Drawing(String),
}

/// One drawing of all curves. Points that are not above zero have no place on a logarithmic axis
/// and are left out.
///
/// # Errors
/// When no point is left.
fn svg(curves: &[Curve], axes: &Axes<'_>) -> Result<String, Undrawable> {
    let curves: Vec<Curve> = curves.iter().map(drawable).collect();
    let all = || curves.iter().flat_map(|curve| curve.points.iter().chain(&curve.own));
    let x = Log::around(all().map(|point| point.x), 1.0).ok_or(Undrawable::Empty)?;
    let y = Log::around(all().map(|point| point.y), 1.3).ok_or(Undrawable::Empty)?;

    let mut text = String::new();
    let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
    let drawn = draw(&area, &curves, axes, x, y);
    drop(area);
    drawn.map_err(|error| Undrawable::Drawing(error.to_string()))?;
    Ok(text)
}

fn drawable(curve: &Curve) -> Curve {
    let positive = |point: &Point| {
        point.x > 0.0 && point.y > 0.0 && point.x.is_finite() && point.y.is_finite()
    };
    Curve {
        label: curve.label.clone(),
        points: curve.points.iter().copied().filter(positive).collect(),
        own: curve.own.filter(positive),
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<Log, Log>>;
type Failure = Box<dyn std::error::Error>;

fn draw<'a>(
    area: &Area<'a>,
    curves: &[Curve],
    axes: &Axes<'_>,
    x: Log,
    y: Log,
) -> Result<(), Failure> {
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(area)
        .caption(axes.title, ("sans-serif", 22).into_font().color(&INK))
        .margin(16)
        .margin_right(MARGIN_RIGHT)
        .x_label_area_size(56)
        .y_label_area_size(84)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .x_desc(axes.x)
        .y_desc(axes.y)
        .x_label_formatter(&|value| tick(*value))
        .y_label_formatter(&|value| tick(*value))
        .bold_line_style(GRID)
        .light_line_style(GRID)
        .axis_style(INK)
        .label_style(("sans-serif", 15).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 17).into_font().color(&INK))
        .draw()?;
    declared(area, &mut chart, curves, y)?;
    let styled = || curves.iter().zip(COLORS.iter().cycle());
    for (curve, color) in styled() {
        line(&mut chart, curve, *color)?;
    }
    let ends = styled().filter_map(|(curve, color)| {
        let end = curve.points.last()?;
        let (x, y) = chart.backend_coord(&(end.x, end.y));
        Some(End { x, y, name_y: y, name: name(curve), color: *color })
    });
    names(area, ends.collect())?;
    area.present()?;
    Ok(())
}

/// A dashed line down from the top, where the declaration is.
fn declared<'a>(
    area: &Area<'a>,
    chart: &mut Chart<'a, '_>,
    curves: &[Curve],
    y: Log,
) -> Result<(), Failure> {
    let Some(own) = curves.iter().find_map(|curve| curve.own) else { return Ok(()) };
    let ends = [(own.x, y.low), (own.x, y.high)];
    let style = ShapeStyle::from(&INK.mix(0.6)).stroke_width(1);
    chart.draw_series(DashedLineSeries::new(ends, 6, 5, style))?;
    // Left of the line: there the lines that rise are lower, and those that fall begin higher up.
    let (left, top) = chart.backend_coord(&(own.x, y.high));
    let (beside, side) = if left < 300 { (left + 6, HPos::Left) } else { (left - 6, HPos::Right) };
    let style = ("sans-serif", 15).into_font().color(&INK).pos(Pos::new(side, VPos::Top));
    area.draw(&Text::new(format!("declared: {}", tick(own.x)), (beside, top + 2), style))?;
    Ok(())
}

/// The line, and on it, ringed, what was declared.
fn line(chart: &mut Chart<'_, '_>, curve: &Curve, color: RGBColor) -> Result<(), Failure> {
    let points = curve.points.iter().map(|point| (point.x, point.y));
    chart.draw_series(LineSeries::new(points, color.stroke_width(2)))?;
    let own = || curve.own.iter().map(|own| (own.x, own.y));
    chart.draw_series(own().map(|at| Circle::new(at, 5, WHITE.filled())))?;
    chart.draw_series(own().map(|at| Circle::new(at, 5, color.stroke_width(2))))?;
    Ok(())
}

/// The curve's name, and its height where it was declared.
fn name(curve: &Curve) -> String {
    match curve.own {
        Some(own) => format!("{}: {}", curve.label, tick(own.y)),
        None => curve.label.clone(),
    }
}

/// Where a line ends, and where its name goes, in pixels.
struct End {
    x: i32,
    y: i32,
    name_y: i32,
    name: String,
    color: RGBColor,
}

/// The names, right of the lines' ends, moved down where two would touch.
fn names(area: &Area<'_>, mut ends: Vec<End>) -> Result<(), Failure> {
    ends.sort_by_key(|end| end.y);
    let mut free = i32::MIN;
    for end in &mut ends {
        end.name_y = end.y.max(free);
        free = end.name_y + NAME_HEIGHT;
    }
    for end in ends {
        let font = ("sans-serif", 16).into_font().color(&end.color);
        let hook = [(end.x + 2, end.y), (end.x + 12, end.name_y), (end.x + 18, end.name_y)];
        area.draw(&PathElement::new(hook, end.color))?;
        area.draw(&Text::new(end.name, (end.x + 24, end.name_y - 9), font))?;
    }
    Ok(())
}

/// A logarithmic axis with ticks at 1, 2 and 5 of each decade, or at decades alone where those
/// would be too many.
#[derive(Clone, Copy, Debug)]
struct Log {
    low: f64,
    high: f64,
}

impl Log {
    /// From the least to the greatest of these, each `room` times further out.
    fn around(values: impl Iterator<Item = f64>, room: f64) -> Option<Self> {
        let (low, high) = values
            .fold((f64::INFINITY, 0.0_f64), |(low, high), value| (low.min(value), high.max(value)));
        // One value alone gets an axis too.
        let room = if low == high { room.max(2.0) } else { room };
        (low <= high).then_some(Self { low: low / room, high: high * room })
    }

    /// Ticks at these multiples of each power of ten within the axis.
    fn ticks(&self, multiples: &[f64]) -> Vec<f64> {
        // What is meant to be on the edge shall not fall off it by rounding.
        let within = (self.low * (1.0 - 1e-9))..(self.high * (1.0 + 1e-9));
        let powers = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        powers
            .flat_map(|power| multiples.iter().map(move |m| m * 10_f64.powi(power)))
            .filter(|tick| within.contains(tick))
            .collect()
    }
}

impl Ranged for Log {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        from + (f64::from(to - from) * part.clamp(0.0, 1.0)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let fine = self.ticks(&[1.0, 2.0, 5.0]);
        if fine.len() <= hint.max_num_points().min(14) { fine } else { self.ticks(&[1.0]) }
    }

    fn range(&self) -> Range<f64> {
        self.low..self.high
    }
}

/// A number as short as it can be said: `0.05`, `4`, `2,000`, `41,628.8`.
fn tick(value: f64) -> String {
    let decimals =
        if value >= 100_000.0 { 0 } else { (3 - value.log10().floor() as i32).clamp(0, 9) };
    let text = format!("{value:.*}", decimals.unsigned_abs() as usize);
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    let (whole, rest) = match text.split_once('.') {
        Some((whole, rest)) => (whole, format!(".{rest}")),
        None => (text, String::new()),
    };
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + &rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: Axes<'_> = Axes { title: "orders & more", x: "epsilon", y: "error" };

    fn curve(label: &str, heights: &[(f64, f64)], own: Option<(f64, f64)>) -> Curve {
        let point = |(x, y): (f64, f64)| Point { x, y };
        Curve {
            label: label.to_owned(),
            points: heights.iter().copied().map(point).collect(),
            own: own.map(point),
        }
    }

    #[test]
    fn each_line_has_its_name_and_what_was_declared() {
        let curves = [
            curve("count", &[(0.1, 3_000.0), (1.0, 300.0), (10.0, 30.0)], Some((4.0, 83.0))),
            curve("sum of amount", &[(0.1, 1e6), (10.0, 1e4)], Some((4.0, 41_628.75))),
        ];
        let drawing = svg(&curves, &AXES).expect("drawn");
        assert!(drawing.starts_with("<svg") && drawing.trim_end().ends_with("</svg>"));
        for words in ["count: 83", "sum of amount: 41,629", "declared: 4", "orders &amp; more"] {
            assert!(drawing.contains(words), "{words}");
        }
        assert_eq!(drawing.matches("<circle").count(), 4);
        assert_eq!(drawing, svg(&curves, &AXES).expect("drawn again"), "the same each time");
    }

    #[test]
    fn what_has_no_place_on_the_axes_is_left_out() {
        let nothing = curve("count", &[(0.0, 1.0), (1.0, 0.0), (-1.0, f64::NAN)], None);
        assert!(matches!(svg(std::slice::from_ref(&nothing), &AXES), Err(Undrawable::Empty)));
        assert!(matches!(svg(&[], &AXES), Err(Undrawable::Empty)));
        let one = curve("subjects", &[(2.0, 5.0), (f64::INFINITY, 3.0)], Some((0.0, 1.0)));
        let drawing = svg(&[nothing, one], &AXES).expect("one point is enough");
        assert!(!drawing.contains("declared") && !drawing.contains("NaN"));
    }

    #[test]
    fn ticks_are_round_numbers() {
        let axis = Log { low: 0.1, high: 10.0 };
        let ticks: Vec<String> = axis.key_points(20).into_iter().map(tick).collect();
        assert_eq!(ticks, ["0.1", "0.2", "0.5", "1", "2", "5", "10"]);
        let wide = Log { low: 3.0, high: 2e6 };
        let ticks: Vec<String> = wide.key_points(10).into_iter().map(tick).collect();
        assert_eq!(ticks, ["10", "100", "1,000", "10,000", "100,000", "1,000,000"]);
    }
}
