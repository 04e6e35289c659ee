//! A plot as SVG: one panel a series, one above the other, over a common time.

const WIDTH: f64 = 960.0;
const PANEL: f64 = 220.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const GAP: f64 = 50.0;
const TICKS: usize = 4;

/// A figure over time.
pub(super) struct Series {
    pub(super) title: String,
    /// Seconds and the figure then.
    pub(super) points: Vec<(f64, f64)>,
}

/// A time that is shaded, seconds.
pub(super) struct Shade {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) title: String,
}

/// The plot of a run of so many seconds.
pub(super) fn svg(title: &str, seconds: f64, series: &[Series], shade: Option<&Shade>) -> String {
    let height = TOP + series.len() as f64 * (PANEL + GAP);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"24\" font-size=\"15\">{}</text>\n",
        escaped(title)
    );
    for (number, one) in series.iter().enumerate() {
        let top = TOP + number as f64 * (PANEL + GAP);
        panel(&mut svg, top, seconds.max(1.0), one, shade);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panel(svg: &mut String, top: f64, seconds: f64, series: &Series, shade: Option<&Shade>) {
    let width = WIDTH - LEFT - RIGHT;
    let bottom = top + PANEL;
    let highest = series.points.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let ceiling = round_up(highest);
    let x = |at: f64| LEFT + width * (at / seconds).clamp(0.0, 1.0);
    let y = |value: f64| bottom - PANEL * (value / ceiling).clamp(0.0, 1.0);
    if let Some(shade) = shade {
        let (from, to) = (x(shade.from), x(shade.to));
        svg.push_str(&format!(
            "<rect x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{PANEL}\" fill=\"#f3e2c7\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"#8a6d3b\">{}</text>\n",
            to - from,
            from + 4.0,
            top + 14.0,
            escaped(&shade.title)
        ));
    }
    svg.push_str(&format!("<text x=\"{LEFT}\" y=\"{:.1}\">{}</text>\n", top - 6.0, escaped(&series.title)));
    for tick in 0..=TICKS {
        let share = tick as f64 / TICKS as f64;
        let (value, at) = (ceiling * share, seconds * share);
        svg.push_str(&format!(
            "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{2:.1}\" y2=\"{2:.1}\" stroke=\"#ddd\"/>\n\
             <text x=\"{1:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{4}</text>\n",
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(value),
            y(value) + 4.0,
            figure(value),
        ));
        svg.push_str(&format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} min</text>\n",
            x(at),
            bottom + 16.0,
            at / 60.0
        ));
    }
    let points: Vec<String> =
        series.points.iter().map(|(at, value)| format!("{:.1},{:.1}", x(*at), y(*value))).collect();
    svg.push_str(&format!(
        "<polyline points=\"{}\" fill=\"none\" stroke=\"#1f6fb2\" stroke-width=\"1.5\"/>\n",
        points.join(" ")
    ));
}

/// The next of 1, 2, 5, 10, 20 ..
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let unit = 10_f64.powf(value.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|step| *step >= value).unwrap_or(value)
}

fn figure(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_figure() {
        assert_eq!([0.0, 0.7, 1.0, 3.2, 4_100.0].map(round_up), [1.0, 1.0, 1.0, 5.0, 5_000.0]);
    }

    #[test]
    fn each_series_is_a_line_with_all_its_points_inside() {
        let series = |title: &str| Series {
            title: title.into(),
            points: vec![(0.0, 1.0), (30.0, 900.0), (60.0, 450.0)],
        };
        let shade = Shade { from: 20.0, to: 40.0, title: "a <snapshot>".into() };
        let drawn = svg("S5 & more", 60.0, &[series("jobs/s"), series("p99")], Some(&shade));
        assert_eq!(drawn.matches("<polyline").count(), 2);
        assert_eq!(drawn.matches("a &lt;snapshot&gt;").count(), 2);
        assert!(drawn.contains("S5 &amp; more"));
        assert!(drawn.contains("90.0,269.8 515.0,72.0 940.0,171.0"), "{drawn}");
    }
}
