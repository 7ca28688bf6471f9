//! Placement of a picture in a window of a different size.

/// A rectangle in a window: left, top, right, bottom, in pixels.
pub(crate) type Rectangle = [u32; 4];

/// Returns the largest centered rectangle in the window with the picture's aspect ratio.
pub(crate) fn fit(picture: [u32; 2], window: [u32; 2]) -> Rectangle {
    let ([pw, ph], [ww, wh]) = (picture.map(u64::from), window.map(u64::from));
    // Rounded. No side is 0 or longer than the window's side.
    let scaled = |side: u64, by: u64, of: u64| (side * by + of / 2) / of.max(1);
    let (width, height) = if pw * wh >= ph * ww { (ww, scaled(ph, ww, pw)) } else { (scaled(pw, wh, ph), wh) };
    let (width, height) = (width.clamp(1, ww.max(1)), height.clamp(1, wh.max(1)));
    let (left, top) = ((ww.saturating_sub(width)) / 2, (wh.saturating_sub(height)) / 2);
    // The casts are exact: no value is greater than the window's sides, which are `u32`.
    [left as u32, top as u32, (left + width) as u32, (top + height) as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picture_is_centered_with_bars() {
        assert_eq!(fit([320, 200], [320, 200]), [0, 0, 320, 200]);
        assert_eq!(fit([320, 200], [640, 400]), [0, 0, 640, 400]);
        assert_eq!(fit([100, 100], [300, 100]), [100, 0, 200, 100]);
        assert_eq!(fit([100, 100], [100, 301]), [0, 100, 100, 200]);
    }

    #[test]
    fn sides_are_neither_empty_nor_longer_than_the_window() {
        for picture in [[1, 16384], [16384, 1], [7, 5]] {
            for window in [[1, 1], [1, 4000], [4000, 1], [3, 2]] {
                let [left, top, right, bottom] = fit(picture, window);
                assert!(left < right && right <= window[0] && top < bottom && bottom <= window[1]);
            }
        }
    }
}
