//! Where a picture is in a window of another size.

/// A rectangle in a window: left, top, right, bottom, in pixels.
pub(crate) type Rectangle = [u32; 4];

/// The largest rectangle of the picture's shape, in the middle of the window.
pub(crate) fn fit(picture: [u32; 2], window: [u32; 2]) -> Rectangle {
    let ([pw, ph], [ww, wh]) = (picture.map(u64::from), window.map(u64::from));
    // Rounded; no side is empty, and none is longer than the window's.
    let scaled = |side: u64, by: u64, of: u64| (side * by + of / 2) / of.max(1);
    let (width, height) = if pw * wh >= ph * ww { (ww, scaled(ph, ww, pw)) } else { (scaled(pw, wh, ph), wh) };
    let (width, height) = (width.clamp(1, ww.max(1)), height.clamp(1, wh.max(1)));
    let (left, top) = ((ww.saturating_sub(width)) / 2, (wh.saturating_sub(height)) / 2);
    // All are sums of numbers that were 32 bits, and no more than the window's sides.
    [left as u32, top as u32, (left + width) as u32, (top + height) as u32]
}
