//! What the readers take, what they refuse, and that no bytes make them panic.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use npyz::WriterBuilder;
use proptest::prelude::*;

use super::*;

fn idx(dims: &[u32], bytes: &[u8]) -> Vec<u8> {
    let sizes = dims.iter().flat_map(|size| size.to_be_bytes());
    [0, 0, 8, dims.len() as u8].into_iter().chain(sizes).chain(bytes.iter().copied()).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a Vec takes any bytes");
    encoder.finish().expect("a Vec takes any bytes")
}

fn grey_png(
    width: u32,
    height: u32,
    kind: (::png::ColorType, ::png::BitDepth),
    bytes: &[u8],
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, width, height);
    encoder.set_color(kind.0);
    encoder.set_depth(kind.1);
    encoder.write_header().and_then(|mut w| w.write_image_data(bytes)).expect("a legal image");
    file
}

/// An npy file as `npyz` writes it.
fn npy<T: npyz::AutoSerialize>(shape: &[u64], descr: &str, numbers: Vec<T>) -> Vec<u8> {
    let mut file = Vec::new();
    let dtype = npyz::DType::new_scalar(descr.parse().expect("a type string"));
    let mut writer = npyz::WriteOptions::new()
        .dtype(dtype)
        .shape(shape)
        .writer(&mut file)
        .begin_nd()
        .expect("a legal header");
    writer.extend(numbers).expect("a Vec takes any bytes");
    writer.finish().expect("as many numbers as the shape says");
    file
}

fn npy_of_header(header: &str, numbers: &[u8]) -> Vec<u8> {
    let length = (header.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), numbers].concat()
}

/// All numbers of a file, of several arrays the one with this name; read as a file and as a stream,
/// which must agree.
fn parse_named(bytes: Vec<u8>, name: Option<&str>) -> Result<Array, String> {
    let file = BufReader::new(Cursor::new(&bytes));
    let of_file = parse(file, Some(bytes.len() as u64), name, &all);
    let of_stream = parse_stream(&bytes[..], name, &all);
    let seen = |array: &Result<Array, String>| {
        array.as_ref().ok().map(|array| (array.header.clone(), array.bytes().to_vec()))
    };
    assert_eq!(seen(&of_file), seen(&of_stream));
    of_file
}

/// The numbers of a file that needs no name.
fn parse_one(bytes: Vec<u8>) -> Result<Array, String> {
    parse_named(bytes, None)
}

fn reals(array: &Array) -> Vec<f64> {
    all(&array.header).map(|i| array.real(i)).collect()
}

fn refusal(file: Vec<u8>) -> String {
    parse_one(file).expect_err("a refusal")
}

#[test]
fn idx_is_read_plain_and_zipped() {
    let file = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
    for file in [file.clone(), gzip(&file)] {
        let array = parse_one(file).expect("a legal file");
        assert_eq!(
            (&array.header.dims[..], array.bytes()),
            (&[2, 1, 3][..], &[1, 2, 3, 4, 5, 6][..])
        );
    }
}

#[test]
fn idx_refusals_say_what_is_wrong() {
    assert_eq!(refusal(vec![]), "the file is empty");
    assert_eq!(
        refusal(b"hello".to_vec()),
        "the file is none of PNG, JPEG, IDX, IDX.gz, npy and npz"
    );
    assert_eq!(
        refusal(vec![0, 0, 13, 1, 0, 0, 0, 0]),
        "an IDX file of type 0x0d, but only unsigned bytes (0x08) are read"
    );
    assert_eq!(refusal(vec![0, 0, 8, 0]), "an IDX file of 0 dimensions, but only 1 to 4 are read");
    assert_eq!(refusal(vec![0, 0, 8, 2, 0, 0, 0, 1]), "damaged file: it ends within its header");
    assert_eq!(
        refusal(idx(&[3, 2], &[1; 5])),
        "damaged file: its header says [3, 2], 6 bytes, but 5 are there"
    );
    assert_eq!(
        refusal(idx(&[3, 2], &[1; 7])),
        "damaged file: its header says [3, 2], 6 bytes, but more are there"
    );
    let four_gib = idx(&[u32::MAX, u32::MAX, u32::MAX], &[1; 7]);
    let too_many = "more than any file holds";
    assert!(refusal(four_gib.clone()).ends_with(too_many), "{}", refusal(four_gib));
    assert!(refusal(gzip(b"hello")).starts_with("in the gzip file: not an IDX file"));
}

#[test]
fn a_zipped_file_is_not_unpacked_beyond_what_its_header_says() {
    let bomb = gzip(&idx(&[4, 4], &vec![0; 64 << 20]));
    assert!(bomb.len() < 1 << 20);
    assert_eq!(refusal(bomb), "damaged file: its header says [4, 4], 16 bytes, but more are there");
    let claim = gzip(&idx(&[u32::MAX, 1], &[0; 99]));
    assert_eq!(
        refusal(claim),
        "its header says [4294967295, 1], more than the 1024 MiB that are read"
    );
}

#[test]
fn pictures_are_read_in_grey_and_in_colour() {
    use ::png::{BitDepth, ColorType};
    let file = grey_png(3, 2, (ColorType::Grayscale, BitDepth::Eight), &[1, 2, 3, 4, 5, 6]);
    let array = parse_one(file.clone()).expect("a legal file");
    assert_eq!((&array.header.dims[..], array.bytes()), (&[2, 3][..], &[1, 2, 3, 4, 5, 6][..]));
    let rgb = grey_png(2, 1, (ColorType::Rgb, BitDepth::Eight), &[1, 2, 3, 4, 5, 6]);
    let array = parse_one(rgb).expect("a legal file");
    assert_eq!((&array.header.dims[..], array.bytes()), (&[1, 2, 3][..], &[1, 2, 3, 4, 5, 6][..]));
    // An alpha channel that hides nothing is none.
    let alpha =
        |last| grey_png(2, 1, (ColorType::GrayscaleAlpha, BitDepth::Eight), &[7, 255, 8, last]);
    let array = parse_one(alpha(255)).expect("a legal file");
    assert_eq!((&array.header.dims[..], array.bytes()), (&[1, 2][..], &[7, 8][..]));
    assert!(refusal(alpha(254)).starts_with("a picture with transparent pixels"));
    let deep = refusal(grey_png(1, 1, (ColorType::Grayscale, BitDepth::Sixteen), &[1, 2]));
    assert!(deep.starts_with("a picture of kind L16,"), "{deep}");
    let cut = refusal(file[..file.len() - 20].to_vec());
    assert!(cut.starts_with("damaged picture: "), "{cut}");
    // A header that says 65,535 x 65,535, with its checksum.
    let mut huge = file;
    huge[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let crc = crc32fast::hash(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(
        refusal(huge),
        "a picture of 65535 x 65535, more than the 67108864 pixels that are read"
    );
}

#[test]
fn an_npz_gives_the_array_of_the_inputs_name() {
    let pack = |arrays: &[(&str, Vec<f32>)]| {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for (name, numbers) in arrays {
            let options = zip::write::SimpleFileOptions::default()
                .compression_method(zip::CompressionMethod::Deflated);
            zip.start_file(format!("{name}.npy"), options).expect("a Vec takes any bytes");
            let file = npy(&[numbers.len() as u64], "<f4", numbers.clone());
            zip.write_all(&file).expect("a Vec takes any bytes");
        }
        zip.finish().expect("a Vec takes any bytes").into_inner()
    };
    let one = pack(&[("a", vec![1.0, 2.0])]);
    assert_eq!(reals(&parse_named(one, Some("x")).expect("the only one")), [1.0, 2.0]);
    let two = pack(&[("a", vec![1.0]), ("x", vec![3.0, 4.0])]);
    assert_eq!(reals(&parse_named(two.clone(), Some("x")).expect("by name")), [3.0, 4.0]);
    let why = parse_named(two, Some("y")).expect_err("which one");
    assert!(why.starts_with("the npz file holds 2 arrays: a, x\n  help: "), "{why}");
    assert!(refusal(b"PK\x03\x04 is no zip".to_vec()).starts_with("damaged npz file: "));
}

#[test]
fn npy_is_read_in_both_byte_orders() {
    let numbers = [0.0, -1.5, 3.25e10, f64::INFINITY];
    for descr in ["<f8", ">f8"] {
        let array = parse_one(npy(&[2, 2], descr, numbers.to_vec())).expect("a legal file");
        assert_eq!(
            (array.header.to_string(), reals(&array)),
            ("float64 [2, 2]".into(), numbers.to_vec())
        );
    }
    for descr in ["<f4", ">f4"] {
        let array = parse_one(npy(&[3], descr, vec![1.0f32, 0.1, -7.0])).expect("a legal file");
        assert_eq!(reals(&array), [1.0, f64::from(0.1f32), -7.0]);
    }
    let array = parse_one(npy(&[2], ">i2", vec![-2i16, 258])).expect("a legal file");
    assert_eq!([array.integer(0), array.integer(1)], [Some(-2), Some(258)]);
    let array = parse_one(npy(&[2], "<u8", vec![7u64, u64::MAX])).expect("a legal file");
    assert_eq!([array.integer(0), array.integer(1)], [Some(7), None]);
    let array = parse_one(npy(&[1, 2], "|u1", vec![1u8, 255])).expect("a legal file");
    assert_eq!((array.header.to_string(), array.bytes()), ("uint8 [1, 2]".into(), &[1, 255][..]));
}

#[test]
fn the_npy_header_may_be_in_any_order_and_spacing() {
    let header = " { \"shape\":(2L,) ,'descr':'|u1','fortran_order' : False}\n";
    assert_eq!(parse_one(npy_of_header(header, &[5, 6])).expect("a legal file").header.dims, [2]);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (), }";
    assert!(
        parse_one(npy_of_header(header, &[0; 4])).expect("a legal file").header.dims.is_empty()
    );
}

#[test]
fn npy_refusals_say_what_is_wrong() {
    let of = |header: &str, numbers: usize| refusal(npy_of_header(header, &vec![0; numbers]));
    let fortran = of("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }", 16);
    assert!(fortran.starts_with("the array is in Fortran order\n  help: "), "{fortran}");
    assert!(
        of("{'descr': '<f2', 'fortran_order': False, 'shape': (2,), }", 4)
            .starts_with("the array's type `<f2` is not read")
    );
    assert!(
        of("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }", 4)
            .starts_with("the array's type `|O` is not read")
    );
    assert_eq!(
        of("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23),
        "damaged file: its header says [2, 3], 24 bytes, but 23 are there"
    );
    let overflow =
        of("{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }", 8);
    assert!(overflow.ends_with("more than any file holds"), "{overflow}");
    let nested = of(&"(".repeat(60_000), 0);
    assert!(
        nested.starts_with("the npy header is not that of one array of numbers: (((("),
        "{nested}"
    );
    assert!(nested.len() < 300);
    let record = of("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", 8);
    assert!(record.starts_with("the npy header is not that of one array of numbers: "), "{record}");
    assert_eq!(
        refusal(b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}".to_vec()),
        "its npy header says to be 4294967295 bytes long, more than the 65536 that are read"
    );
    assert_eq!(
        refusal(b"\x93NUMPY\x02\x00\xff\0\0\0{}".to_vec()),
        "damaged npy file: it ends within its header"
    );
    assert_eq!(
        refusal(b"\x93NUMPY\x09\x00\x00\x00".to_vec()),
        "npy version 9, but only 1 to 3 are read"
    );
}

#[test]
fn written_npy_headers_are_legal_and_aligned() {
    for shape in [vec![3], vec![10_000, 10], vec![2, 64, 7, 7], vec![]] {
        let count: u64 = shape.iter().product();
        let mut file = npy_header("<i4", &shape);
        assert_eq!(file.len() % 64, 0);
        (0..count as i32).for_each(|i| file.extend(i.to_le_bytes()));
        let read = npyz::NpyFile::new(&file[..]).expect("a legal header");
        assert_eq!((read.shape(), read.order()), (&shape[..], npyz::Order::C));
        let numbers: Vec<i32> = read.into_vec().expect("int32");
        assert!(numbers.into_iter().eq(0..count as i32));
    }
}

/// A reader that counts what is read of it.
struct Counted<'a>(Cursor<&'a [u8]>, &'a std::cell::Cell<usize>);

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        self.1.set(self.1.get() + read);
        Ok(read)
    }
}

impl Seek for Counted<'_> {
    fn seek(&mut self, to: std::io::SeekFrom) -> std::io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn no_more_is_read_than_is_wanted() {
    let pixels: Vec<u8> = (0..1 << 20).map(|i| (i % 251) as u8).collect();
    let plain = idx(&[1 << 10, 1 << 10], &pixels);
    let files = [plain.clone(), npy(&[1 << 10, 1 << 10], "|u1", pixels.clone()), gzip(&plain)];
    for (file, zipped) in files.iter().zip([false, false, true]) {
        for rows in [0..1, 5..7, 1020..1024] {
            let read = std::cell::Cell::new(0);
            let counted = BufReader::with_capacity(512, Counted(Cursor::new(file), &read));
            let part = |_: &Header| rows.start << 10..rows.end << 10;
            let array = parse(counted, Some(file.len() as u64), None, &part).expect("a legal file");
            assert_eq!(array.bytes(), &pixels[part(&array.header)]);
            assert_eq!(array.octets(part(&array.header)), array.bytes());
            let last = part(&array.header).end - 1;
            assert_eq!(array.real(last), f64::from(pixels[last]));
            // Header and buffers; a zipped file is unpacked up to there, but not kept.
            let most = (rows.len() << 10) + 2048;
            assert!(zipped || read.get() <= most, "{} bytes for {rows:?}", read.get());
        }
    }
    // A claim of more than there is, is refused before anything is read.
    let short = idx(&[1 << 10, 1 << 10], &pixels[1..]);
    let part = |_: &Header| 0..1;
    let file = BufReader::new(Cursor::new(&short));
    assert!(parse(file, Some(short.len() as u64), None, &part).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(head in 0..10usize, tail in prop::collection::vec(any::<u8>(), 0..300)) {
        let heads: [&[u8]; 10] = [
            b"\xff\xd8\xff\xe0\0\x10JFIF\0",
            b"PK\x03\x04\x14\0\0\0",
            b"",
            b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR",
            b"\x93NUMPY\x01\x00",
            b"\x93NUMPY\x02\x00\x40\x00\x00\x00{'descr': '",
            b"\x1f\x8b\x08\x00\0\0\0\0\0\xff",
            b"\0\0\x08\x03",
            b"\0\0\x08\x01\0\0\0",
            b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4', 'fortran_order': False, 'shape': (",
        ];
        let _ = parse_one([heads[head], &tail].concat());
    }

    #[test]
    fn damaged_files_are_refused_or_read_in_bounds(
        kind in 0..4usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let pixels: Vec<u8> = (0..60).collect();
        let mut file = match kind {
            0 => idx(&[3, 4, 5], &pixels),
            1 => gzip(&idx(&[3, 4, 5], &pixels)),
            2 => grey_png(6, 10, (::png::ColorType::Grayscale, ::png::BitDepth::Eight), &pixels),
            _ => npy(&[3, 4, 5], ">f4", pixels.iter().map(|&p| f32::from(p)).collect()),
        };
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if cuts {
            file.truncate(cut.index(file.len()));
        }
        if let Ok(array) = parse_one(file) {
            prop_assert_eq!(array.bytes().len(), array.header.dims.iter().product::<usize>() * array.header.element.bytes());
            reals(&array);
        }
    }

    #[test]
    fn npy_round_trips(shape in prop::collection::vec(0..5u64, 0..5), seed in any::<f64>()) {
        let count: u64 = shape.iter().product();
        let numbers: Vec<f64> = (0..count).map(|i| seed + i as f64).collect();
        let mut file = npy_header("<f8", &shape);
        numbers.iter().for_each(|x| file.extend(x.to_le_bytes()));
        let array = parse_one(file).expect("a legal file");
        prop_assert!(array.header.dims.iter().map(|&size| size as u64).eq(shape));
        prop_assert_eq!(
            reals(&array).iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
    }
}
