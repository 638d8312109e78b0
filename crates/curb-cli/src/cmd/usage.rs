//! `curb usage`

use std::path::Path;

use curb_api::{Usage, UsageQuery};

use crate::args::UsageArgs;
use crate::ctx::{Ctx, block};
use crate::exit::Exit;
use crate::fail::{Done, Failure};
use crate::show::{self, UsageLine};

/// `curb usage`
pub fn run(args: &UsageArgs, ctx: &mut Ctx) -> Done {
    let client = ctx.client(&args.remote)?;
    let now = ctx.view.now;
    let query = UsageQuery {
        by: Some(args.by.to_string()),
        since: Some(args.since.from(now)),
        until: args.until.map(|until| until.from(now)),
        user: args.user.clone(),
        team: args.team.clone(),
        limit: Some(args.limit),
    };
    let usage = block(async { Ok(client.usage(&query).await?) })?;
    if args.json.json {
        ctx.json(&usage)?;
    } else if args.csv {
        ctx.print(&show::usage_csv(&usage))?;
    } else if let Some(file) = &args.parquet {
        write(file, &usage)?;
        ctx.say(&format!("{} is written", file.display()));
    } else {
        let text = show::usage(&usage, &ctx.view);
        ctx.print(&text)?;
    }
    Ok(Exit::Ok)
}

fn write(file: &Path, usage: &Usage) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            Exit::Other,
            format!("{} cannot be written: {error}", file.display()),
        )
    };
    // Beside it first: a disk that is full leaves nothing behind, and nothing that is there is written over.
    let beside = file.parent().filter(|dir| !dir.as_os_str().is_empty());
    let made = tempfile::NamedTempFile::new_in(beside.unwrap_or(Path::new(".")));
    let made = made.map_err(|e| failed(&e))?;
    let to = made.as_file().try_clone().map_err(|e| failed(&e))?;
    parquet(to, &show::usage_lines(usage)).map_err(|e| failed(&e))?;
    made.persist_noclobber(file)
        .map(drop)
        .map_err(|e| failed(&e.error))
}

/// Writes lines as one row group. Hours are decimals with three places, as in the other forms.
fn parquet(to: std::fs::File, lines: &[UsageLine]) -> Result<(), parquet::errors::ParquetError> {
    use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    let schema = parse_message_type(
        "message usage {
            optional binary name (UTF8);
            required int64 jobs;
            required binary resource (UTF8);
            required int64 granted_hours (DECIMAL(18, 3));
            required int64 watched_hours (DECIMAL(18, 3));
            required int64 held_hours (DECIMAL(18, 3));
        }",
    )?;
    let properties = WriterProperties::builder().build();
    let mut writer = SerializedFileWriter::new(to, schema.into(), properties.into())?;
    let mut group = writer.next_row_group()?;
    let bytes = |text: &str| ByteArray::from(text.as_bytes().to_vec());
    if let Some(mut column) = group.next_column()? {
        let there: Vec<i16> = lines.iter().map(|l| i16::from(l.name.is_some())).collect();
        let names: Vec<_> = lines
            .iter()
            .filter_map(|l| l.name.as_deref())
            .map(bytes)
            .collect();
        column
            .typed::<ByteArrayType>()
            .write_batch(&names, Some(&there), None)?;
        column.close()?;
    }
    let numbers: [fn(&UsageLine) -> i64; 4] = [
        |l| l.jobs.cast_signed(),
        |l| l.granted,
        |l| l.watched,
        |l| l.held,
    ];
    for (at, number) in numbers.into_iter().enumerate() {
        if at == 1
            && let Some(mut column) = group.next_column()?
        {
            let resources: Vec<_> = lines.iter().map(|l| bytes(&l.resource)).collect();
            column
                .typed::<ByteArrayType>()
                .write_batch(&resources, None, None)?;
            column.close()?;
        }
        if let Some(mut column) = group.next_column()? {
            let values: Vec<i64> = lines.iter().map(number).collect();
            column
                .typed::<Int64Type>()
                .write_batch(&values, None, None)?;
            column.close()?;
        }
    }
    group.close()?;
    writer.close()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::Field;

    #[test]
    fn what_is_written_reads_back() {
        let file = tempfile::tempfile().expect("a file");
        let line = |name: Option<&str>, held| UsageLine {
            name: name.map(str::to_owned),
            jobs: 3,
            resource: "cpu".into(),
            granted: 12_345,
            watched: 12_000,
            held,
        };
        let lines = [line(Some("ana"), 1), line(None, 2)];
        parquet(file.try_clone().expect("a second handle"), &lines).expect("written");
        let reader = SerializedFileReader::new(file).expect("a file of that form");
        let rows: Vec<Vec<String>> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| {
                let row = row.expect("a row");
                row.get_column_iter()
                    .map(|(_, field): (_, &Field)| field.to_string())
                    .collect()
            })
            .collect();
        assert_eq!(rows[0][..3], ["\"ana\"", "3", "\"cpu\""]);
        assert_eq!(rows[1][0], "null");
        assert_eq!(rows[1][3..], ["12.345", "12.000", "0.002"]);
    }
}
