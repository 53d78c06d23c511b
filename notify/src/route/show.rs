//! The tree as text.

use std::fmt::Write as _;

use model::labels::Labels;

use super::{Route, Tree};

impl Tree {
    /// The whole tree, a line a node, as `amtool config routes show` draws it.
    pub fn show(&self) -> String {
        let children = |number: usize| self.routes[number].children.clone();
        self.draw(&children, |route, _| route.title(true, true))
    }

    /// What an alert with these labels passes, with the receivers where it ends, as `amtool config routes test --tree`
    /// draws it.
    pub fn show_matching(&self, labels: &Labels) -> String {
        let children = |number: usize| self.matching_children(number, labels).collect();
        self.draw(&children, |route, ends| route.title(false, ends))
    }

    fn draw(&self, children: &dyn Fn(usize) -> Vec<usize>, title: impl Fn(&Route, bool) -> String) -> String {
        let mut out = String::from(".\n");
        // A stack of nodes to draw, each with what stands in front of its line.
        let mut left = vec![(0, String::new(), true)];
        while let Some((number, indent, last)) = left.pop() {
            let below = children(number);
            let line = title(&self.routes[number], below.is_empty());
            let branch = if last { "└── " } else { "├── " };
            writeln!(out, "{indent}{branch}{line}").expect("writing to memory");
            let indent = format!("{indent}{}", if last { "    " } else { "│   " });
            for (at, child) in below.iter().enumerate().rev() {
                left.push((*child, indent.clone(), at + 1 == below.len()));
            }
        }
        out
    }
}

impl Route {
    fn title(&self, with_continue: bool, with_receiver: bool) -> String {
        let mut title = if self.matchers.is_empty() {
            "default-route".to_owned()
        } else {
            self.matchers.to_string()
        };
        if self.continues && with_continue {
            title.push_str("  continue: true");
        }
        if with_receiver {
            title.push_str("  receiver: ");
            title.push_str(&self.options.receiver);
        }
        title
    }
}
