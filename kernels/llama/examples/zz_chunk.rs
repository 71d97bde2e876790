//! scratch
#![allow(missing_docs, clippy::unwrap_used, clippy::all)]
use jingui_llama::*;
use std::sync::Arc;
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let threads: u32 = a[2].parse().unwrap();
    let model = Arc::new(Model::load(std::fs::File::open(&a[1]).unwrap().into(), |_| true).unwrap());
    let mut ctx = Context::new(model.clone(), ContextShape { context_tokens: 8192, sequence_count: 16, batch_tokens: 512, thread_count: threads, output_rows: 16 }).unwrap();
    for &chunk in &[512usize, 256, 128, 96, 64, 48, 32, 16, 8, 512, 256, 128, 64, 32] {
        let mut batch = ctx.batch();
        // one running stream on sequence 1
        batch.push(model.token(5).unwrap(), 0, 1, true).unwrap();
        ctx.decode(&mut batch).unwrap();
        let mut pos = 0u32; let mut dpos = 1u32;
        let t = Instant::now(); let mut worst = 0.0f64;
        while pos < 1024 {
            batch.clear();
            batch.push(model.token(6).unwrap(), dpos, 1, true).unwrap(); dpos += 1;
            for i in 0..chunk.min(511).min(1024 - pos as usize) { batch.push(model.token(7 + (i as u32 % 50)).unwrap(), pos + i as u32, 0, false).unwrap(); }
            pos += chunk.min(511) as u32;
            let s = Instant::now();
            ctx.decode(&mut batch).unwrap();
            worst = worst.max(s.elapsed().as_secs_f64());
        }
        let e = t.elapsed().as_secs_f64();
        println!("chunk {chunk:4} {:7.1} tok/s  worst step {:6.1} ms  {:.3}s", 1024.0 / e, worst * 1e3, e);
        ctx.forget(0, 0).unwrap(); ctx.forget(1, 0).unwrap();
    }
    // decode widths
    for &w in &[1u32, 2, 3, 4, 5, 6, 8, 12, 1, 4] {
        let mut batch = ctx.batch();
        for s in 0..w { batch.push(model.token(5).unwrap(), 0, s, true).unwrap(); }
        ctx.decode(&mut batch).unwrap();
        let t = Instant::now();
        for p in 1..41 { batch.clear(); for s in 0..w { batch.push(model.token(5).unwrap(), p, s, true).unwrap(); } ctx.decode(&mut batch).unwrap(); }
        let e = t.elapsed().as_secs_f64();
        println!("width {w:3}: {:.2} ms/step  {:.1} tok/s", e * 1e3 / 40.0, 40.0 * w as f64 / e);
        for s in 0..16 { ctx.forget(s, 0).unwrap(); }
    }
}
