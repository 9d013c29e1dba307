use proptest::prelude::*;
use qnnsim_tests::models::chains;
#[test]
fn tmp_chains() {
    qnnsim_tests::for_all(
        200,
        || (chains::case(), any::<u32>(), qnnsim_tests::hardware_point()),
        |(case, _, _)| {
            if chains::import(&case).is_none() {
                eprintln!("NONE");
            }
            Ok(())
        },
    );
}
