//! A place for every box and a way for every arrow: layers from top to bottom, as few crossings as a few sweeps find,
//! and boxes close to what they are joined to.
//!
//! # Source
//! Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures" (1981), for layers and
//! crossings. Positions inside a layer are the least squares ones under the order that was found: pool adjacent
//! violators, as in isotonic regression.

use super::model::{Node, Scope};

/// Height of a state, pixels at full size.
pub(super) const STATE_HEIGHT: f64 = 54.0;
/// Height of `Start` and `End`.
pub(super) const TERMINAL_HEIGHT: f64 = 30.0;
const TERMINAL_WIDTH: f64 = 74.0;
const WIDTH_MIN: f64 = 168.0;
const WIDTH_MAX: f64 = 300.0;
/// Above what is in a container.
pub(super) const HEADER_HEIGHT: f64 = 70.0;
/// Around what is in a container.
const PADDING: f64 = 22.0;
/// Between neighbours in a layer.
const GAP: f64 = 36.0;
/// Between layers, and how much more if there is something to read.
const LAYER_GAP: f64 = 42.0;
const LABEL_GAP: f64 = 22.0;
/// Between the ways of two arrows that lead back.
const LANE: f64 = 14.0;
/// Corners of arrows that lead back.
const RADIUS: f64 = 9.0;
/// Of the letters on a state, on average, and beside an arrow.
const LETTER: f64 = 8.3;
const LABEL_LETTER: f64 = 6.2;
/// Places on the ways of long arrows; more are a tangle that no one reads.
const BENDS_MAX: usize = 4_000;
const SWEEPS: usize = 12;

/// A scope with its places; its upper left corner is 0, 0.
#[derive(Debug, Default)]
pub(super) struct Placed {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) boxes: Vec<PlacedBox>,
    pub(super) arrows: Vec<Arrow>,
}

/// A box.
#[derive(Debug, Default)]
pub(super) struct PlacedBox {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
    /// What is in it, with the corner where that begins, from the box's.
    pub(super) inner: Vec<(f64, f64, Placed)>,
}

/// An arrow, in the order of the scope's edges.
#[derive(Debug, Default)]
pub(super) struct Arrow {
    /// SVG's path data.
    pub(super) path: String,
    /// Where the middle of its label is.
    pub(super) label: (f64, f64),
}

/// Finds places for all of a scope.
pub(super) fn layout(scope: &Scope) -> Result<Placed, String> {
    let mut boxes = Vec::with_capacity(scope.nodes.len());
    for node in &scope.nodes {
        boxes.push(sized(node)?);
    }
    let edges: Vec<(usize, usize)> = scope.edges.iter().map(|edge| (edge.from, edge.to)).collect();
    let leads_back = back_edges(boxes.len(), &edges);
    let layer_of = layers(boxes.len(), &edges, &leads_back);
    let mut net = Net::new(&boxes, &layer_of);
    let mut ways = Vec::with_capacity(edges.len());
    for (index, &(from, to)) in edges.iter().enumerate() {
        let is_forward = !leads_back[index];
        ways.push(if is_forward { net.thread(from, to, scope.edges[index].label.as_str())? } else { Vec::new() });
    }
    net.order();
    net.settle();
    Ok(net.place(scope, boxes, &ways, &leads_back))
}

fn sized(node: &Node) -> Result<PlacedBox, String> {
    if !node.is_state {
        return Ok(PlacedBox { width: TERMINAL_WIDTH, height: TERMINAL_HEIGHT, ..PlacedBox::default() });
    }
    let letters = node.name.chars().count().max(node.detail.chars().count() * 9 / 10);
    let own = (letters as f64 * LETTER + 88.0).clamp(WIDTH_MIN, WIDTH_MAX);
    if node.inner.is_empty() {
        return Ok(PlacedBox { width: own, height: STATE_HEIGHT, ..PlacedBox::default() });
    }
    let (mut x, mut tallest): (f64, f64) = (PADDING, 0.0);
    let mut inner = Vec::new();
    for scope in &node.inner {
        let placed = layout(scope)?;
        let width = placed.width;
        tallest = tallest.max(placed.height);
        inner.push((x, HEADER_HEIGHT, placed));
        x += width + GAP;
    }
    let content = x - GAP + PADDING;
    let width = content.max(own + 40.0);
    inner.iter_mut().for_each(|(x, ..)| *x += (width - content) / 2.0);
    Ok(PlacedBox { width, height: HEADER_HEIGHT + tallest + PADDING, inner, ..PlacedBox::default() })
}

/// Which edges lead back to where their way came from. Without them there are no circles.
fn back_edges(nodes: usize, edges: &[(usize, usize)]) -> Vec<bool> {
    let mut outgoing = vec![Vec::new(); nodes];
    for (index, (from, _)) in edges.iter().enumerate() {
        outgoing[*from].push(index);
    }
    let mut is_back = vec![false; edges.len()];
    // 0 not seen, 1 on the way, 2 done.
    let mut seen = vec![0_u8; nodes];
    for root in 0..nodes {
        if seen[root] != 0 {
            continue;
        }
        seen[root] = 1;
        let mut way = vec![(root, 0)];
        while let Some((node, next)) = way.last_mut() {
            let Some(&edge) = outgoing[*node].get(*next) else {
                seen[*node] = 2;
                way.pop();
                continue;
            };
            *next += 1;
            let to = edges[edge].1;
            match seen[to] {
                0 => {
                    seen[to] = 1;
                    way.push((to, 0));
                }
                1 => is_back[edge] = true,
                _ => {}
            }
        }
    }
    is_back
}

/// How many steps each node is below the first ones, at most.
fn layers(nodes: usize, edges: &[(usize, usize)], leads_back: &[bool]) -> Vec<usize> {
    let forward: Vec<(usize, usize)> =
        edges.iter().zip(leads_back).filter(|(_, back)| !**back).map(|(edge, _)| *edge).collect();
    let mut waiting = vec![0; nodes];
    let mut outgoing = vec![Vec::new(); nodes];
    for &(from, to) in &forward {
        waiting[to] += 1;
        outgoing[from].push(to);
    }
    let mut layer = vec![0; nodes];
    let mut ready: Vec<usize> = (0..nodes).filter(|node| waiting[*node] == 0).collect();
    while let Some(node) = ready.pop() {
        for &to in &outgoing[node] {
            layer[to] = layer[to].max(layer[node] + 1);
            waiting[to] -= 1;
            if waiting[to] == 0 {
                ready.push(to);
            }
        }
    }
    layer
}

/// Boxes and the bends of long arrows, in layers. The first points are the boxes.
struct Net {
    points: Vec<Point>,
    layers: Vec<Vec<usize>>,
    boxes: usize,
}

struct Point {
    layer: usize,
    width: f64,
    height: f64,
    x: f64,
    above: Vec<usize>,
    below: Vec<usize>,
}

impl Net {
    fn new(boxes: &[PlacedBox], layer_of: &[usize]) -> Self {
        let count = layer_of.iter().max().map_or(0, |last| last + 1);
        let mut net = Self { points: Vec::new(), layers: vec![Vec::new(); count], boxes: boxes.len() };
        for (placed, &layer) in boxes.iter().zip(layer_of) {
            net.add(layer, placed.width, placed.height);
        }
        net
    }

    fn add(&mut self, layer: usize, width: f64, height: f64) -> usize {
        let (above, below) = (Vec::new(), Vec::new());
        self.points.push(Point { layer, width, height, x: 0.0, above, below });
        self.layers[layer].push(self.points.len() - 1);
        self.points.len() - 1
    }

    /// The way of an arrow through the layers.
    fn thread(&mut self, from: usize, to: usize, label: &str) -> Result<Vec<usize>, String> {
        let mut way = vec![from];
        for layer in self.points[from].layer + 1..self.points[to].layer {
            if self.points.len() - self.boxes >= BENDS_MAX {
                return Err("its arrows are too many and too long".to_owned());
            }
            // The label of a long arrow is at its first bend.
            let width = if way.len() == 1 { label.chars().count() as f64 * LABEL_LETTER } else { 0.0 };
            way.push(self.add(layer, width.max(10.0), 0.0));
        }
        way.push(to);
        for pair in way.windows(2) {
            self.points[pair[0]].below.push(pair[1]);
            self.points[pair[1]].above.push(pair[0]);
        }
        Ok(way)
    }

    /// Orders the layers so that few arrows cross.
    fn order(&mut self) {
        let mut position = vec![0.0; self.points.len()];
        let note = |layers: &[Vec<usize>], position: &mut Vec<f64>| {
            for layer in layers {
                layer.iter().enumerate().for_each(|(index, point)| position[*point] = index as f64);
            }
        };
        note(&self.layers, &mut position);
        let mut best = (self.crossings(&position), self.layers.clone());
        for sweep in 0..SWEEPS {
            if best.0 == 0 {
                break;
            }
            let is_down = sweep % 2 == 0;
            let count = self.layers.len();
            for step in 0..count {
                let layer = if is_down { step } else { count - 1 - step };
                let mean = |point: &usize| {
                    let Point { above, below, .. } = &self.points[*point];
                    let joined = if is_down { above } else { below };
                    match joined.len() {
                        0 => position[*point],
                        many => joined.iter().map(|other| position[*other]).sum::<f64>() / many as f64,
                    }
                };
                let mut keyed: Vec<(f64, usize)> =
                    self.layers[layer].iter().map(|point| (mean(point), *point)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.layers[layer] = keyed.into_iter().map(|(_, point)| point).collect();
                self.layers[layer].iter().enumerate().for_each(|(index, point)| position[*point] = index as f64);
            }
            let crossings = self.crossings(&position);
            if crossings < best.0 {
                best = (crossings, self.layers.clone());
            }
        }
        self.layers = best.1;
    }

    fn crossings(&self, position: &[f64]) -> usize {
        let mut count = 0;
        for layer in &self.layers {
            let ends: Vec<(f64, f64)> = layer
                .iter()
                .flat_map(|from| self.points[*from].below.iter().map(|to| (position[*from], position[*to])))
                .collect();
            for (index, a) in ends.iter().enumerate() {
                count += ends[index + 1..].iter().filter(|b| (a.0 - b.0) * (a.1 - b.1) < 0.0).count();
            }
        }
        count
    }

    /// Moves every point to where it would like to be, as far as its neighbours let it.
    fn settle(&mut self) {
        for layer in 0..self.layers.len() {
            let mut x = 0.0;
            for index in 0..self.layers[layer].len() {
                let point = self.layers[layer][index];
                self.points[point].x = x + self.points[point].width / 2.0;
                x += self.points[point].width + GAP;
            }
            let points = self.layers[layer].clone();
            points.iter().for_each(|point| self.points[*point].x -= (x - GAP) / 2.0);
        }
        for sweep in 0..2 * SWEEPS {
            let count = self.layers.len();
            for step in 0..count {
                let layer = if sweep % 2 == 0 { step } else { count - 1 - step };
                // At the end by both sides, before by one, so that wishes travel.
                self.settle_layer(
                    layer,
                    (sweep + 4 >= 2 * SWEEPS).then_some(()).map_or(Some(sweep % 2 == 0), |()| None),
                );
            }
        }
    }

    fn settle_layer(&mut self, layer: usize, by_above: Option<bool>) {
        let points = &self.layers[layer];
        let mut offset = 0.0;
        let mut offsets = Vec::with_capacity(points.len());
        // Blocks of points that move together: the sum of weights, of weighted wishes, and how many points.
        let mut blocks: Vec<(f64, f64, usize)> = Vec::new();
        for (index, &point) in points.iter().enumerate() {
            if index > 0 {
                offset += (self.points[points[index - 1]].width + self.points[point].width) / 2.0 + GAP;
            }
            offsets.push(offset);
            let (weight, wish) = self.wish(point, by_above);
            blocks.push((weight, weight * (wish - offset), 1));
            while let [.., a, b] = blocks.as_slice()
                && a.1 / a.0 > b.1 / b.0
            {
                let merged = (a.0 + b.0, a.1 + b.1, a.2 + b.2);
                blocks.truncate(blocks.len() - 2);
                blocks.push(merged);
            }
        }
        let mut places = Vec::with_capacity(points.len());
        for (weight, sum, many) in blocks {
            places.extend(std::iter::repeat_n(sum / weight, many));
        }
        for (index, place) in places.into_iter().enumerate() {
            let point = self.layers[layer][index];
            self.points[point].x = place + offsets[index];
        }
    }

    fn wish(&self, point: usize, by_above: Option<bool>) -> (f64, f64) {
        let Point { above, below, x, .. } = &self.points[point];
        let is_bend = point >= self.boxes;
        let (mut weights, mut sum) = (0.0, 0.0);
        let mut listen = |others: &[usize]| {
            for &other in others {
                // Long arrows are straight before all.
                let weight = match (is_bend, other >= self.boxes) {
                    (true, true) => 8.0,
                    (false, false) => 1.0,
                    _ => 2.0,
                };
                weights += weight;
                sum += weight * self.points[other].x;
            }
        };
        if by_above != Some(false) {
            listen(above);
        }
        if by_above != Some(true) {
            listen(below);
        }
        if weights == 0.0 { (0.1, *x) } else { (weights, sum / weights) }
    }

    fn place(self, scope: &Scope, mut boxes: Vec<PlacedBox>, ways: &[Vec<usize>], leads_back: &[bool]) -> Placed {
        let left = self.points.iter().map(|point| point.x - point.width / 2.0).fold(f64::INFINITY, f64::min);
        let right = self.points.iter().map(|point| point.x + point.width / 2.0).fold(f64::NEG_INFINITY, f64::max);
        let lanes = leads_back.iter().filter(|back| **back).count() as f64;
        // Top and bottom of each layer.
        let mut spans = Vec::with_capacity(self.layers.len());
        let mut y = if lanes > 0.0 { LANE } else { 0.0 };
        for (index, layer) in self.layers.iter().enumerate() {
            let height = layer.iter().map(|point| self.points[*point].height).fold(0.0, f64::max);
            spans.push((y, y + height));
            let has_labels =
                scope.edges.iter().any(|edge| !edge.label.is_empty() && self.points[edge.from].layer == index);
            y += height + LAYER_GAP + if has_labels { LABEL_GAP } else { 0.0 };
        }
        let bottom = spans.last().map_or(0.0, |span| span.1);
        let at = |point: usize| self.points[point].x - left;
        for (index, placed) in boxes.iter_mut().enumerate() {
            let (top, bottom) = spans[self.points[index].layer];
            placed.x = at(index) - placed.width / 2.0;
            placed.y = (top + bottom - placed.height) / 2.0;
        }
        let width = right - left;
        let mut lane = 0.0;
        let arrows = scope.edges.iter().zip(ways).enumerate().map(|(index, (edge, way))| {
            if !leads_back[index] {
                return self.forward(way, &boxes, &spans, &at, !edge.label.is_empty());
            }
            lane += 1.0;
            backward(
                &boxes[edge.from],
                &boxes[edge.to],
                spans[self.points[edge.from].layer].1,
                spans[self.points[edge.to].layer].0,
                width + lane * LANE,
                lane,
            )
        });
        let arrows: Vec<Arrow> = arrows.collect();
        let below = if lanes > 0.0 { LANE + 6.0 * lanes } else { 0.0 };
        Placed {
            width: width + if lanes > 0.0 { (lanes + 0.5) * LANE } else { 0.0 },
            height: bottom + below,
            boxes,
            arrows,
        }
    }

    fn forward(
        &self,
        way: &[usize],
        boxes: &[PlacedBox],
        spans: &[(f64, f64)],
        at: &impl Fn(usize) -> f64,
        has_label: bool,
    ) -> Arrow {
        let (Some(&from), Some(&to)) = (way.first(), way.last()) else { return Arrow::default() };
        let (mut x, mut y) = (at(from), boxes[from].y + boxes[from].height);
        let mut path = format!("M{x:.1} {y:.1}");
        let layer_bottom = spans[self.points[from].layer].1;
        if layer_bottom > y {
            path.push_str(&format!("V{layer_bottom:.1}"));
            y = layer_bottom;
        }
        let mut label = (x, y);
        for (index, &point) in way.iter().enumerate().skip(1) {
            let next = at(point);
            let (top, bottom) = spans[self.points[point].layer];
            if (next - x).abs() < 0.5 {
                path.push_str(&format!("V{top:.1}"));
            } else {
                let middle = (y + top) / 2.0;
                path.push_str(&format!("C{x:.1} {middle:.1} {next:.1} {middle:.1} {next:.1} {top:.1}"));
            }
            if index == 1 {
                // Nearer to where it leads: arrows part on their way.
                label = (x + (next - x) * 0.72, y + (top - y) * if has_label { 0.64 } else { 0.5 });
            }
            let end = if point == to { boxes[to].y } else { bottom };
            if end > top {
                path.push_str(&format!("V{end:.1}"));
            }
            (x, y) = (next, end);
        }
        Arrow { path, label }
    }
}

/// Down, to the right, up past everything, and in from above.
fn backward(from: &PlacedBox, to: &PlacedBox, layer_bottom: f64, layer_top: f64, right: f64, lane: f64) -> Arrow {
    let r = RADIUS;
    let begin = from.x + from.width / 2.0 + (from.width / 4.0).min(28.0);
    let end = to.x + to.width / 2.0 + (to.width / 4.0).min(28.0);
    let low = layer_bottom + 8.0 + 6.0 * lane;
    let high = layer_top - 8.0 - (3.0 * lane).min(6.0);
    let path = format!(
        "M{begin:.1} {:.1}V{:.1}Q{begin:.1} {low:.1} {:.1} {low:.1}H{:.1}Q{right:.1} {low:.1} {right:.1} {:.1}V{:.1}\
         Q{right:.1} {high:.1} {:.1} {high:.1}H{:.1}Q{end:.1} {high:.1} {end:.1} {:.1}V{:.1}",
        from.y + from.height,
        low - r,
        begin + r,
        right - r,
        low - r,
        high + r,
        right - r,
        end + r,
        high + r,
        to.y,
    );
    Arrow { path, label: ((begin + right) / 2.0, low - 6.0) }
}

#[cfg(test)]
mod tests {
    use super::super::model;
    use super::*;

    fn placed(definition: &str) -> Placed {
        layout(&model::read(definition).unwrap()).unwrap()
    }

    /// No two boxes of a scope overlap, all are inside, and so are those in containers.
    fn check(placed: &Placed) {
        for (index, a) in placed.boxes.iter().enumerate() {
            assert!(a.x >= -0.01 && a.y >= -0.01, "{a:?}");
            assert!(a.x + a.width <= placed.width + 0.01 && a.y + a.height <= placed.height + 0.01, "{a:?}");
            for b in &placed.boxes[index + 1..] {
                let apart =
                    a.x + a.width <= b.x || b.x + b.width <= a.x || a.y + a.height <= b.y || b.y + b.height <= a.y;
                assert!(apart, "{a:?} and {b:?}");
            }
            for (x, y, inner) in &a.inner {
                assert!(x + inner.width <= a.width && y + inner.height <= a.height, "{a:?}");
                check(inner);
            }
        }
    }

    #[test]
    fn nothing_overlaps() {
        // A net of choices in every direction, with what leads back and with containers in it.
        let mut states = Vec::new();
        for index in 0..40_usize {
            let to = |step: usize| format!("s{}", (index * 7 + step * 11 + 3) % 40);
            states.push(if index.is_multiple_of(4) {
                format!(r#""s{index}":{{"Type":"Choice","Choices":[{{"Condition":"{{% $a %}}","Next":"{}"}},{{"Condition":"{{% $b %}}","Next":"{}"}}],"Default":"s{index}"}}"#, to(1), to(2))
            } else if index.is_multiple_of(5) {
                let branch = r#"{"StartAt":"a","States":{"a":{"Type":"Pass","Next":"b"},"b":{"Type":"Pass","End":true}}}"#;
                format!(r#""s{index}":{{"Type":"Parallel","Branches":[{branch},{branch},{branch}],"Next":"{}"}}"#, to(1))
            } else {
                format!(r#""s{index}":{{"Type":"Pass","Next":"{}"}}"#, to(3))
            });
        }
        check(&placed(&format!(r#"{{"StartAt":"s0","States":{{{},"z":{{"Type":"Succeed"}}}}}}"#, states.join(","))));
    }

    #[test]
    fn a_line_of_states_is_straight_and_goes_down() {
        let placed = placed(
            r#"{"StartAt":"A","States":{"A":{"Type":"Pass","Next":"A much longer name"},"A much longer name":{"Type":"Pass","End":true}}}"#,
        );
        check(&placed);
        let middles: Vec<f64> = placed.boxes.iter().map(|b| b.x + b.width / 2.0).collect();
        assert!(middles.iter().all(|middle| (middle - middles[0]).abs() < 0.01), "{middles:?}");
        assert!(placed.boxes.windows(2).all(|pair| pair[0].y + pair[0].height < pair[1].y));
        assert!(placed.arrows.iter().all(|arrow| !arrow.path.contains('C')), "{:?}", placed.arrows);
    }

    #[test]
    fn arrows_cross_no_more_than_they_must() {
        let definition = r#"{"StartAt":"C","States":{
            "C":{"Type":"Choice","Choices":[{"Condition":"{% $a %}","Next":"R"}],"Default":"L"},
            "L":{"Type":"Pass","Next":"LL"},"R":{"Type":"Pass","Next":"RR"},
            "RR":{"Type":"Pass","End":true},"LL":{"Type":"Pass","End":true}}}"#;
        let scope = model::read(definition).unwrap();
        let placed = layout(&scope).unwrap();
        let x = |name: &str| placed.boxes[scope.nodes.iter().position(|node| node.name == name).unwrap()].x;
        assert_eq!(x("L") < x("R"), x("LL") < x("RR"));
        check(&placed);
    }
}
