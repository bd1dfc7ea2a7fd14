//! Times and durations in conditions: `now()`, `date(text)`, `duration(text)` and their methods.

use std::fmt;

use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp, Zoned, civil};

use super::check::Type;
use super::value::Value;

/// A time with the offset it was written in.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    instant: Timestamp,
    offset: Offset,
}

impl Moment {
    pub(super) fn utc(instant: Timestamp) -> Self {
        Self {
            instant,
            offset: Offset::UTC,
        }
    }

    pub(super) fn instant(&self) -> Timestamp {
        self.instant
    }

    pub(super) fn plus(&self, duration: SignedDuration) -> Option<Self> {
        let instant = self.instant.checked_add(duration).ok()?;
        Some(Self {
            instant,
            offset: self.offset,
        })
    }

    fn zoned(&self) -> Zoned {
        self.instant.to_zoned(TimeZone::fixed(self.offset))
    }

    /// Reads the forms that the original tries, RFC 3339 first.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Ok(pieces) = jiff::fmt::temporal::Pieces::parse(text) {
            let clock = pieces.time().unwrap_or(civil::Time::midnight());
            let offset = match pieces.offset() {
                Some(offset) => offset.to_numeric_offset(),
                None if pieces.time_zone_annotation().is_none() => Offset::UTC,
                None => return None,
            };
            let instant = offset.to_timestamp(pieces.date().to_datetime(clock)).ok()?;
            return Some(Self { instant, offset });
        }
        if let Ok(zoned) = jiff::fmt::rfc2822::parse(text) {
            return Some(Self {
                instant: zoned.timestamp(),
                offset: zoned.offset(),
            });
        }
        let clock: civil::Time = text.parse().ok()?;
        let instant = Offset::UTC.to_timestamp(civil::date(0, 1, 1).to_datetime(clock)).ok()?;
        Some(Self::utc(instant))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.instant.display_with_offset(self.offset))
    }
}

/// The type of a method of a time or duration, `None` when there is none of that name and number of arguments.
pub(super) fn method_type(of: &Type, name: &str, args: usize) -> Option<Type> {
    match (of, name, args) {
        (
            Type::Time,
            "Year" | "Month" | "Day" | "Hour" | "Minute" | "Second" | "Nanosecond" | "YearDay" | "Weekday" | "Unix"
            | "UnixMilli",
            0,
        ) => Some(Type::Int),
        (Type::Time, "Before" | "After" | "Equal", 1) => Some(Type::Bool),
        (Type::Time, "Sub", 1) => Some(Type::Duration),
        (Type::Time, "Add", 1) | (Type::Time, "UTC", 0) => Some(Type::Time),
        (Type::Time | Type::Duration, "String", 0) => Some(Type::Text),
        (Type::Duration, "Hours" | "Minutes" | "Seconds", 0) => Some(Type::Float),
        (Type::Duration, "Milliseconds" | "Microseconds" | "Nanoseconds", 0) => Some(Type::Int),
        (Type::Duration, "Abs", 0) => Some(Type::Duration),
        _ => None,
    }
}

/// Calls a method.
pub(super) fn call_method(base: &Value, name: &str, args: &[Value]) -> Result<Value, String> {
    let found = match base {
        Value::Time(moment) => moment_method(moment, name, args),
        Value::Duration(duration) if args.is_empty() => duration_method(*duration, name),
        Value::Nil => return Err(format!("cannot fetch {name} from <nil>")),
        _ => None,
    };
    found.ok_or_else(|| format!("{} has no method {name} for these arguments", base.type_name()))
}

fn moment_method(moment: &Moment, name: &str, args: &[Value]) -> Option<Value> {
    let zoned = moment.zoned();
    Some(match (name, args) {
        ("Year", []) => Value::Int(zoned.year().into()),
        ("Month", []) => Value::Int(zoned.month().into()),
        ("Day", []) => Value::Int(zoned.day().into()),
        ("Hour", []) => Value::Int(zoned.hour().into()),
        ("Minute", []) => Value::Int(zoned.minute().into()),
        ("Second", []) => Value::Int(zoned.second().into()),
        ("Nanosecond", []) => Value::Int(zoned.subsec_nanosecond().into()),
        ("YearDay", []) => Value::Int(zoned.day_of_year().into()),
        ("Weekday", []) => Value::Int(zoned.weekday().to_sunday_zero_offset().into()),
        ("Unix", []) => Value::Int(moment.instant.as_second()),
        ("UnixMilli", []) => Value::Int(moment.instant.as_millisecond()),
        ("String", []) => Value::text(moment.to_string()),
        ("UTC", []) => Value::Time(Moment::utc(moment.instant)),
        ("Before", [Value::Time(other)]) => Value::Bool(moment.instant < other.instant),
        ("After", [Value::Time(other)]) => Value::Bool(moment.instant > other.instant),
        ("Equal", [Value::Time(other)]) => Value::Bool(moment.instant == other.instant),
        ("Sub", [Value::Time(other)]) => Value::Duration(moment.instant.duration_since(other.instant)),
        ("Add", [Value::Duration(duration)]) => Value::Time(moment.plus(*duration)?),
        _ => return None,
    })
}

fn duration_method(duration: SignedDuration, name: &str) -> Option<Value> {
    let whole = |value: i128| i64::try_from(value).ok().map(Value::Int);
    Some(match name {
        "Hours" => Value::Float(duration.as_secs_f64() / 3600.0),
        "Minutes" => Value::Float(duration.as_secs_f64() / 60.0),
        "Seconds" => Value::Float(duration.as_secs_f64()),
        "Milliseconds" => return whole(duration.as_millis()),
        "Microseconds" => return whole(duration.as_micros()),
        "Nanoseconds" => return whole(duration.as_nanos()),
        "Abs" => Value::Duration(duration.abs()),
        "String" => Value::text(crate::lang::duration::print(duration)),
        _ => return None,
    })
}
