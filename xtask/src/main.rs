fn main() -> anyhow::Result<()> {
    let fds = protox::compile(["outrigger/mesh/v1/mesh.proto"], ["proto/proto"])?;
    tonic_prost_build::configure().bytes(".").out_dir("proto/src/generated").compile_fds(fds)?;
    Ok(())
}
