//! From a [`Value`] to the parsed filter: every rule of the language that can be broken is checked here, once.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::ast::{Comparison, Literal, Node, Test};
use super::{MAX_FILTER_DEPTH, MAX_FILTER_NODES, MAX_IN_VALUES};
use crate::error::{Error, Result, shortened};
use crate::map::Map;
use crate::metadata::{Value, compare_values};
use crate::sort::sort_by;

/// All operators, as an error lists them.
const KNOWN: &str = "$eq $ne $gt $gte $lt $lte $in $nin $exists $and $or $not";

pub(super) fn parse(filter: &Value) -> Result<Node> {
    Parser { nodes: 0 }.filter(filter, 1)
}

type Object = Map<String, Value>;

/// Counts nodes as it descends; recursion ends at [`MAX_FILTER_DEPTH`].
struct Parser {
    nodes: usize,
}

impl Parser {
    fn filter(&mut self, filter: &Value, depth: usize) -> Result<Node> {
        within_depth(depth)?;
        let Value::Map(entries) = filter else {
            return Err(Error::invalid_argument(format!("a filter is an object, not {}", filter.describe())));
        };
        if entries.is_empty() {
            self.count()?;
        }
        let mut nodes = Vec::new();
        for (key, operand) in entries {
            nodes.push(if key.starts_with('$') {
                self.combination(key, operand, depth)?
            } else {
                self.field(key, operand, depth)?
            });
        }
        Ok(all(nodes))
    }

    /// `$and`, `$or` or `$not` over whole filters.
    fn combination(&mut self, operator: &str, operand: &Value, depth: usize) -> Result<Node> {
        match operator {
            "$and" => Ok(all(self.filters(operator, operand, depth)?)),
            "$or" => Ok(Node::Any(self.filters(operator, operand, depth)?)),
            "$not" => {
                self.count()?;
                Ok(Node::Not(Box::new(self.filter(operand, depth + 1)?)))
            }
            "$eq" | "$ne" | "$gt" | "$gte" | "$lt" | "$lte" | "$in" | "$nin" | "$exists" => {
                Err(Error::invalid_argument(format!(
                    "`{operator}` needs a field: {{ \"field\": {{ \"{operator}\": .. }} }}"
                )))
            }
            _ => Err(unknown(operator)),
        }
    }

    fn filters(&mut self, operator: &str, operand: &Value, depth: usize) -> Result<Vec<Node>> {
        self.count()?;
        let Value::List(filters) = operand else {
            return Err(Error::invalid_argument(format!(
                "`{operator}` takes a list of filters, not {}",
                operand.describe()
            )));
        };
        if filters.is_empty() {
            return Err(Error::invalid_argument(format!("`{operator}` needs at least one filter, its list is empty")));
        }
        filters.iter().map(|filter| self.filter(filter, depth + 1)).collect()
    }

    fn field(&mut self, path: &str, operand: &Value, depth: usize) -> Result<Node> {
        if let Some(operators) = operators_of(path, operand)? {
            return self.operators(path, operators, depth);
        }
        self.count()?;
        let literal = literal(path, "$eq", operand)?;
        if let Some(key) = dollar_key(operand) {
            return Err(Error::invalid_argument(format!(
                "operator `{}` inside the object that field `{}` is compared with: name the nested field by a dotted \
                 path, or write `$eq` if the object is meant as it is",
                shortened(key),
                shortened(path)
            )));
        }
        Ok(field(path, Test::Equals(literal)))
    }

    fn operators(&mut self, path: &str, operators: &Object, depth: usize) -> Result<Node> {
        let mut nodes = Vec::with_capacity(operators.len().min(MAX_FILTER_NODES));
        for (operator, operand) in operators {
            nodes.push(self.operator(path, operator, operand, depth)?);
        }
        Ok(all(nodes))
    }

    fn operator(&mut self, path: &str, operator: &str, operand: &Value, depth: usize) -> Result<Node> {
        self.count()?;
        let compares = |side| Ok(field(path, Test::Compares(side, bound(path, operator, operand)?)));
        match operator {
            "$eq" => Ok(field(path, Test::Equals(literal(path, operator, operand)?))),
            "$ne" => Ok(not(field(path, Test::Equals(literal(path, operator, operand)?)))),
            "$gt" => compares(Comparison::Greater),
            "$gte" => compares(Comparison::GreaterOrEqual),
            "$lt" => compares(Comparison::Less),
            "$lte" => compares(Comparison::LessOrEqual),
            "$in" => Ok(field(path, Test::In(literals(path, operator, operand)?))),
            "$nin" => Ok(not(field(path, Test::In(literals(path, operator, operand)?)))),
            "$exists" => match operand {
                Value::Bool(true) => Ok(field(path, Test::Exists)),
                Value::Bool(false) => Ok(not(field(path, Test::Exists))),
                _ => Err(wrong_operand(path, operator, "a boolean", operand)),
            },
            "$not" => {
                within_depth(depth + 1)?;
                let Some(operators) = operators_of(path, operand)? else {
                    return Err(wrong_operand(path, operator, "an object of operators", operand));
                };
                Ok(not(self.operators(path, operators, depth + 1)?))
            }
            "$and" | "$or" => Err(Error::invalid_argument(format!(
                "`{operator}` stands beside fields, not under field `{}`",
                shortened(path)
            ))),
            _ => Err(unknown(operator)),
        }
    }

    fn count(&mut self) -> Result<()> {
        self.nodes += 1;
        if self.nodes > MAX_FILTER_NODES {
            return Err(Error::limit_exceeded(format!(
                "filter nodes: at least {}, the limit is {MAX_FILTER_NODES}",
                self.nodes
            )));
        }
        Ok(())
    }
}

fn within_depth(depth: usize) -> Result<()> {
    if depth > MAX_FILTER_DEPTH {
        return Err(Error::limit_exceeded(format!("filter depth: at least {depth}, the limit is {MAX_FILTER_DEPTH}")));
    }
    Ok(())
}

/// The object if its keys are operators, nothing if the value is a literal.
fn operators_of<'v>(path: &str, value: &'v Value) -> Result<Option<&'v Object>> {
    let Value::Map(entries) = value else { return Ok(None) };
    let Some(operator) = entries.keys().find(|key| key.starts_with('$')) else { return Ok(None) };
    match entries.keys().find(|key| !key.starts_with('$')) {
        None => Ok(Some(entries)),
        Some(plain) => Err(Error::invalid_argument(format!(
            "field `{}` mixes operator `{}` with plain key `{}` in one object",
            shortened(path),
            shortened(operator),
            shortened(plain)
        ))),
    }
}

fn field(path: &str, test: Test) -> Node {
    Node::Field { path: path.into(), test }
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

/// The conjunction, without the parts that always hold.
fn all(mut nodes: Vec<Node>) -> Node {
    nodes.retain(|node| !matches!(node, Node::Everything));
    match nodes.len() {
        0 => Node::Everything,
        1 => nodes.swap_remove(0),
        _ => Node::All(nodes),
    }
}

fn literal(path: &str, operator: &str, value: &Value) -> Result<Literal> {
    Literal::new(value).map_err(|error| {
        Error::new(error.kind(), format!("`{operator}` of field `{}`: {}", shortened(path), error.message()))
    })
}

/// A literal of a type that has an order.
fn bound(path: &str, operator: &str, value: &Value) -> Result<Literal> {
    match value {
        Value::Null | Value::List(_) | Value::Map(_) => {
            Err(wrong_operand(path, operator, "a number, a string or a boolean", value))
        }
        _ => literal(path, operator, value),
    }
}

/// The values of `$in`, sorted for binary search.
fn literals(path: &str, operator: &str, operand: &Value) -> Result<Box<[Literal]>> {
    let Value::List(values) = operand else { return Err(wrong_operand(path, operator, "a list", operand)) };
    if values.len() > MAX_IN_VALUES {
        return Err(Error::limit_exceeded(format!(
            "filter values: `{operator}` of field `{}` has {}, the limit is {MAX_IN_VALUES}",
            shortened(path),
            values.len()
        )));
    }
    let mut literals = values.iter().map(|value| literal(path, operator, value)).collect::<Result<Vec<_>>>()?;
    sort_by(&mut literals, |a, b| compare_values(a.view(), b.view()));
    literals.dedup_by(|a, b| compare_values(a.view(), b.view()).is_eq());
    Ok(literals.into_boxed_slice())
}

/// A key that begins with `$`, anywhere in a literal whose depth was checked.
fn dollar_key(value: &Value) -> Option<&str> {
    match value {
        Value::List(items) => items.iter().find_map(dollar_key),
        Value::Map(entries) => entries
            .iter()
            .find_map(|(key, value)| if key.starts_with('$') { Some(key.as_str()) } else { dollar_key(value) }),
        _ => None,
    }
}

fn unknown(operator: &str) -> Error {
    Error::invalid_argument(format!("unknown operator `{}`; there are {KNOWN}", shortened(operator)))
}

fn wrong_operand(path: &str, operator: &str, wanted: &str, operand: &Value) -> Error {
    Error::invalid_argument(format!(
        "`{operator}` of field `{}` takes {wanted}, not {}",
        shortened(path),
        operand.describe()
    ))
}
