//! A plot as an SVG file, written by hand: rate over the number of policies, with the limit above it.

use std::fmt::Write;

use crate::decide::Taken;
use crate::report::{Row, Spread};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 24.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 56.0;

/// The rows with traces, and the limit.
pub(crate) fn draw(rows: &[Row], limits: &[Taken]) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|it| it.variant.traces).collect();
    let limit = Spread::of(limits.iter().map(Taken::rate));
    let most = rows.iter().map(|it| it.spread(|it| it.taken.rate()).max).fold(limit.max, f64::max) * 1.08;
    let log = |policies: usize| (policies.max(1) as f64).log10();
    let (first, last) = rows.iter().fold((f64::MAX, f64::MIN), |(low, high), it| {
        (low.min(log(it.variant.policies)), high.max(log(it.variant.policies)))
    });
    let span = if last > first { last - first } else { 1.0 };
    let x = |policies: usize| LEFT + 30.0 + (log(policies) - first) / span * (WIDTH - LEFT - RIGHT - 60.0);
    let y = |rate: f64| HEIGHT - BOTTOM - rate / most * (HEIGHT - TOP - BOTTOM);
    let mut svg = String::new();
    // Writing into a String cannot fail.
    let _ = write!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>
<text x="{LEFT}" y="24" font-size="15">Signals decided a second, over the number of policies</text>
"#
    );
    grid(&mut svg, most, y);
    let (left, right) = (LEFT, WIDTH - RIGHT);
    let _ = write!(
        svg,
        r##"<rect x="{left}" y="{0:.1}" width="{1:.1}" height="{height:.1}" fill="#d9d9d9"/>
<line x1="{left}" y1="{2:.1}" x2="{right}" y2="{2:.1}" stroke="#555" stroke-dasharray="6 4"/>
<text x="{right}" y="{3:.1}" text-anchor="end" fill="#555">limit: acknowledges and does nothing</text>
"##,
        y(limit.max),
        right - left,
        y(limit.median),
        y(limit.max) - 6.0,
        height = y(limit.min) - y(limit.max)
    );
    let points: Vec<String> = rows
        .iter()
        .map(|it| format!("{:.1},{:.1}", x(it.variant.policies), y(it.spread(|it| it.taken.rate()).median)))
        .collect();
    let _ =
        writeln!(svg, r##"<polyline points="{}" fill="none" stroke="#1f5fa8" stroke-width="2"/>"##, points.join(" "));
    for row in rows {
        point(&mut svg, row, x(row.variant.policies), y);
    }
    let _ = write!(
        svg,
        r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">policies (bars: least to most of the rounds)</text>
</svg>
"#,
        f64::midpoint(left, right),
        HEIGHT - 12.0
    );
    svg
}

fn grid(svg: &mut String, most: f64, y: impl Fn(f64) -> f64) {
    let step = if most > 200_000.0 { 100_000.0 } else { 50_000.0 };
    let mut rate = 0.0;
    while rate <= most {
        let (at, right) = (y(rate), WIDTH - RIGHT);
        let label = format!("{:.0} k", rate / 1_000.0);
        let _ = writeln!(
            svg,
            r##"<line x1="{LEFT}" y1="{at:.1}" x2="{right}" y2="{at:.1}" stroke="#e8e8e8"/><text x="{:.1}" y="{:.1}" text-anchor="end">{label}</text>"##,
            LEFT - 8.0,
            at + 4.0
        );
        rate += step;
    }
}

fn point(svg: &mut String, row: &Row, x: f64, y: impl Fn(f64) -> f64) {
    let rate = row.spread(|it| it.taken.rate());
    let colour = if row.void().is_some() { "#b3261e" } else { "#1f5fa8" };
    let _ = writeln!(
        svg,
        r#"<line x1="{x:.1}" y1="{:.1}" x2="{x:.1}" y2="{:.1}" stroke="{colour}" stroke-width="2"/><circle cx="{x:.1}" cy="{:.1}" r="4" fill="{colour}"/><text x="{x:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
        y(rate.min),
        y(rate.max),
        y(rate.median),
        HEIGHT - BOTTOM + 20.0,
        row.variant.policies
    );
}
