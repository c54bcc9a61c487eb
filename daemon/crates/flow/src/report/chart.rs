//! Curves as drawings that stand in a page: SVG whose colours are the page's, with a title and a description.

use std::fmt::Write as _;

use super::document::{Chart, Series};
use super::html::escape;
use super::spark::{range, thin, ticks};

/// The drawing's own units.
const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 240.0;
/// Where the curves begin and end, leaving room for marks and legend.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 628.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 204.0;
/// The most points of a curve; more would lie closer than the drawing's own units.
const MOST_POINTS: usize = 400;
/// Up to so many points each is marked.
const MARKED_POINTS: usize = 24;

/// Draws curves; `number` tells drawings of a page apart.
pub(super) fn svg(chart: &Chart, number: usize) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_svg(&mut text, chart, number);
    text
}

/// Where values stand in the drawing.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

impl Axes {
    fn of(chart: &Chart) -> Option<Self> {
        let points = || chart.series.iter().flat_map(|series| &series.points);
        let y = range(points().map(|point| point.1))?;
        // A flat curve lies in the middle.
        let room = if y.1 > y.0 { (y.1 - y.0) * 0.05 } else { 0.5 };
        Some(Self {
            x: range(points().map(|point| point.0))?,
            y: (y.0 - room, y.1 + room),
        })
    }

    fn place_x(&self, x: f64) -> f64 {
        match self.x.1 > self.x.0 {
            true => LEFT + (x - self.x.0) / (self.x.1 - self.x.0) * (RIGHT - LEFT),
            false => (LEFT + RIGHT) / 2.0,
        }
    }

    fn place_y(&self, y: f64) -> f64 {
        BOTTOM - (y - self.y.0) / (self.y.1 - self.y.0) * (BOTTOM - TOP)
    }
}

fn write_svg(text: &mut String, chart: &Chart, number: usize) -> std::fmt::Result {
    let Some(axes) = Axes::of(chart) else {
        return Ok(());
    };
    let (title, description) = (escape(&chart.title), escape(&chart.description));
    writeln!(
        text,
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"chart-{number}-title chart-{number}-description\">"
    )?;
    writeln!(text, "<title id=\"chart-{number}-title\">{title}</title>")?;
    writeln!(
        text,
        "<desc id=\"chart-{number}-description\">{description}</desc>"
    )?;
    write_axes(text, &axes, &chart.x)?;
    let mut legend = LEFT;
    for (place, series) in chart.series.iter().enumerate() {
        write_series(text, &axes, series, place)?;
        let name = escape(&series.name);
        let (end, words) = (legend + 20.0, legend + 26.0);
        writeln!(
            text,
            "<line class=\"curve-{place}\" x1=\"{legend}\" y1=\"12\" x2=\"{end}\" y2=\"12\"/><text x=\"{words}\" y=\"16\">{name}</text>"
        )?;
        legend += 200.0;
    }
    writeln!(text, "</svg>")
}

fn write_axes(text: &mut String, axes: &Axes, x_name: &str) -> std::fmt::Result {
    let (marks, decimals) = ticks(axes.y.0, axes.y.1, 6);
    for mark in marks {
        let y = axes.place_y(mark);
        let (words, before) = (y + 4.0, LEFT - 6.0);
        writeln!(
            text,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{RIGHT}\" y2=\"{y:.1}\"/><text class=\"end\" x=\"{before}\" y=\"{words:.1}\">{mark:.decimals$}</text>"
        )?;
    }
    let (marks, _) = ticks(axes.x.0, axes.x.1, 6);
    for mark in marks.iter().filter(|mark| mark.fract() == 0.0) {
        let (x, y) = (axes.place_x(*mark), BOTTOM + 16.0);
        writeln!(
            text,
            "<text class=\"middle\" x=\"{x:.1}\" y=\"{y}\">{mark:.0}</text>"
        )?;
    }
    let (x, y) = ((LEFT + RIGHT) / 2.0, HEIGHT - 4.0);
    let name = escape(x_name);
    writeln!(
        text,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{BOTTOM}\" x2=\"{RIGHT}\" y2=\"{BOTTOM}\"/><text class=\"middle\" x=\"{x}\" y=\"{y}\">{name}</text>"
    )
}

fn write_series(text: &mut String, axes: &Axes, series: &Series, place: usize) -> std::fmt::Result {
    let points = thin(&series.points, MOST_POINTS);
    let placed = points.iter().map(|(x, y)| {
        let (x, y) = (axes.place_x(*x), axes.place_y(*y));
        format!("{x:.1},{y:.1}")
    });
    let placed: Vec<String> = placed.collect();
    writeln!(
        text,
        "<polyline class=\"curve-{place}\" points=\"{}\"/>",
        placed.join(" ")
    )?;
    if points.len() <= MARKED_POINTS {
        for (x, y) in &points {
            let (x, y) = (axes.place_x(*x), axes.place_y(*y));
            writeln!(
                text,
                "<circle class=\"point-{place}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\"/>"
            )?;
        }
    }
    Ok(())
}
