//! The parts of a space together.

use std::collections::HashSet;

use crate::columns::{FIGURES, PARETO, check, columns, position};
use crate::manifest::Manifest;
use crate::pareto::Fronts;
use crate::sweep::Shard;
use crate::table::{Table, Value};

/// Joins parts: a name for messages, its manifest, its rows. The front is found anew. The joined
/// rows are those of the whole space run at once; only which points a filter skipped may differ,
/// for a part knows its own results only.
///
/// # Errors
/// Parts are of different sweeps, one is missing or there twice, or a row cannot be one.
pub fn merge(parts: Vec<(String, Manifest, Table)>) -> Result<(Table, Manifest), String> {
    let Some((first_name, first, _)) = parts.first() else {
        return Err("there are no parts".into());
    };
    let (first_name, mut manifest) = (first_name.clone(), first.clone());
    let mut seen: Vec<Option<&str>> = Vec::new();
    if manifest.columns != columns() {
        return Err(format!("`{first_name}` has other columns than this version of qnnsim writes"));
    }
    let grid_points = manifest.inputs.space.grid_points().unwrap_or(u64::MAX);
    let mut indices = HashSet::new();
    for (name, part, table) in &parts {
        if (&part.id, &part.inputs) != (&manifest.id, &manifest.inputs)
            || part.columns != manifest.columns
        {
            return Err(format!(
                "`{name}` is part of another sweep than `{first_name}`: space, files or version differ"
            ));
        }
        if part.pareto != manifest.pareto || part.exhaustive != manifest.exhaustive {
            return Err(format!(
                "`{name}` was run with another --pareto or --exhaustive than `{first_name}`"
            ));
        }
        let shard = part.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?;
        if seen.is_empty() {
            // A number from a file: no more than there are parts.
            seen =
                vec![None; usize::try_from(shard.count).unwrap_or(usize::MAX).min(parts.len() + 1)];
        }
        if shard.count != first.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?.count {
            return Err(format!(
                "`{name}` is part {shard}, but `{first_name}` is of a space split otherwise"
            ));
        }
        if table.rows.len() as u64 != part.points {
            return Err(format!(
                "`{name}` has {} rows instead of {}",
                table.rows.len(),
                part.points
            ));
        }
        if let Some(slot) = seen.get_mut(shard.index as usize)
            && let Some(other) = slot.replace(name)
        {
            return Err(format!("`{other}` and `{name}` are both part {shard}"));
        }
        for (line, row) in table.rows.iter().enumerate() {
            let place = |why| format!("`{name}`, line {}: {why}", line + 1);
            check(row, grid_points).map_err(place)?;
            if let Some(index) = row.first()
                && !indices.insert(index.to_string())
            {
                return Err(place(format!("the point {index} is there twice")));
            }
        }
    }
    let count = first.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?.count;
    if let Some(missing) =
        (0..count).find(|&index| seen.get(index as usize).is_none_or(Option::is_none))
    {
        return Err(format!("part {}/{count} is missing", missing + 1));
    }
    let mut rows: Vec<Vec<Value>> =
        parts.into_iter().flat_map(|(_, _, table)| table.rows).collect();
    let at = |name: &str| {
        position(&manifest.columns, name).ok_or_else(|| format!("there is no column `{name}`"))
    };
    let (index, source, pareto) = (at("index")?, at("source")?, at(PARETO)?);
    let number = |row: &Vec<Value>| if let Value::Integer(n) = row[index] { n } else { u64::MAX };
    rows.sort_by_key(number);

    let goals = manifest.pareto.iter().map(|name| {
        let goal = FIGURES.iter().find(|figure| figure.name == name).and_then(|figure| figure.goal);
        Ok((at(name)?, goal.ok_or_else(|| format!("`{name}` is not an objective"))?))
    });
    let goals = goals.collect::<Result<Vec<_>, String>>()?;
    let costs = |row: &Vec<Value>| -> Option<Vec<f64>> {
        goals.iter().map(|&(at, goal)| row[at].number().map(|value| goal.cost(value))).collect()
    };
    let mut fronts = Fronts::new();
    let mut sources: Vec<Value> = Vec::new();
    let mut of = |row: &Vec<Value>| {
        sources.iter().position(|known| *known == row[source]).unwrap_or_else(|| {
            sources.push(row[source].clone());
            sources.len() - 1
        })
    };
    let numbers: Vec<usize> = rows.iter().map(&mut of).collect();
    for (row, &source) in rows.iter().zip(&numbers) {
        if let Some(costs) = costs(row) {
            fronts.entry(source).or_default().add(number(row), &costs);
        }
    }
    for (row, source) in rows.iter_mut().zip(&numbers) {
        if let Some(costs) = costs(row) {
            row[pareto] = Value::Flag(fronts[source].dominator(&costs).is_none());
        }
    }
    manifest.shard = None;
    manifest.points = rows.len() as u64;
    Ok((Table { columns: manifest.columns.clone(), rows }, manifest))
}
