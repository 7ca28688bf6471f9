use super::*;

/// Returns the cells of the rows of a table.
fn rows(section: &str) -> Vec<Vec<&str>> {
    let lines = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| offset"));
    lines.map(|line| line.split('|').map(|cell| cell.trim().trim_matches('`')).skip(1).collect()).collect()
}

/// The document describes all structs, since it is all that authors of workers in other languages
/// have.
#[test]
fn document_describes_all_structs() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ipc.md");
    let text = std::fs::read_to_string(path).unwrap();
    let messages = text.split("\n## Messages\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let sections: Vec<_> = messages.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), TABLES.len());
    for (section, (name, kind, descriptors, size, fields)) in sections.iter().zip(TABLES) {
        let plural = if *descriptors == 1 { "" } else { "s" };
        let title = format!("{name}: kind {kind}, {size} bytes, {descriptors} descriptor{plural}");
        assert_eq!(section.lines().next(), Some(&*title));
        let said: Vec<_> =
            rows(section).iter().map(|row| (row[2].to_owned(), row[0].parse(), row[1].parse())).collect();
        let are: Vec<_> =
            fields.iter().map(|(name, offset, size)| ((*name).to_owned(), Ok(*offset), Ok(*size))).collect();
        assert_eq!(said, are, "{name}");
        for ((offset, size), (field, ..)) in fields.iter().map(|(_, offset, size)| (offset, size)).zip(*fields) {
            let number = matches!(size, 4 | 8) && *field != "magic";
            assert!(!number || offset.is_multiple_of(*size), "C would pad before {name}.{field}");
        }
    }
    let header: Vec<_> = rows(text.split("\n## Header\n").nth(1).unwrap().split("\n## ").next().unwrap());
    assert_eq!(
        header.iter().map(|row| row[..3].join(" ")).collect::<Vec<_>>(),
        ["0 2 kind", "2 2 descriptors", "4 4 length",]
    );
    assert_eq!(size_of::<Header>(), 8);
    assert_eq!(MAX_MESSAGE_SIZE, TABLES.iter().map(|(_, _, _, size, _)| *size).max().unwrap());
}

#[test]
fn document_lists_all_formats() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ipc.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = text.split("\n## Rules of the fields\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let mut said: Vec<(u32, u32, u32)> = Vec::new();
    for row in rows(section).iter().filter(|row| row[0] != "channel") {
        let number = |cell: &str| cell.trim().parse::<u32>().unwrap();
        said.extend(row[2].split(',').map(|format| (number(format), number(row[0]), number(row[1]))));
    }
    said.sort_unstable();
    assert_eq!(said, FORMATS);
}
