//! The pane that lists what each tenant has.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};

use super::{list, number, say, words};
use crate::cli::dashboard::model::Dashboard;
use crate::cli::output::{bytes, count};
use crate::proto::TenantStats;

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, dashboard: &Dashboard) {
    let tenants = dashboard.stats.as_ref().map_or(&[][..], |stats| &stats.tenants);
    let title = format!("Tenants: {}", count(tenants.len() as u64));
    if tenants.is_empty() {
        let text = "nothing to show: no tenant has a collection, or the credential lacks the scope `admin`";
        return say(frame, area, title, text);
    }
    let columns = [
        words("tenant", Constraint::Fill(1)),
        number("collections", 11),
        number("points", 13),
        number("on disk", 10),
        number("in memory", 10),
        number("searches", 13),
    ];
    list(frame, area, title, &columns, tenants.iter().skip(dashboard.scrolled).map(cells), None);
}

fn cells(tenant: &TenantStats) -> Vec<String> {
    vec![
        tenant.name.clone(),
        count(tenant.collections),
        count(tenant.points),
        bytes(tenant.segment_bytes),
        bytes(tenant.memtable_bytes),
        count(tenant.searches),
    ]
}
