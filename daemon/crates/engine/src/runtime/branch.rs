//! What attention and the feed-forward part give on its way to the residual stream.

#![expect(unsafe_code, reason = "tasks write the rows of their own tokens")]

use super::forward::Pass;
use super::updates::{BottleneckUpdate, LinearUpdate};
use crate::kernels::{SharedMut, Write, rms_norm};

/// What a part's last linear layer is followed by.
pub(super) struct After<'a> {
    /// Where the family has one.
    pub(super) norm: Option<&'a [f32]>,
    /// The linear layer's own.
    pub(super) update: Option<&'a LinearUpdate>,
    pub(super) bottleneck: Option<&'a BottleneckUpdate>,
}

impl After<'_> {
    /// Tells whether what the part gives must stand alone before it is added.
    fn needs_alone(&self) -> bool {
        self.norm.is_some()
            || self.update.is_some_and(LinearUpdate::needs_product)
            || self.bottleneck.is_some_and(|after| !after.reads_stream)
    }
}

impl Pass<'_> {
    /// Adds what `project` gives to the residual: at once where nothing stands between, else after the norm; then what a bottleneck
    /// makes of it.
    pub(super) fn add_branch(
        &self,
        after: &After<'_>,
        residual: &mut [f32],
        branch: &mut Vec<f32>,
        normed: &mut Vec<f32>,
        project: &mut dyn FnMut(&mut [f32], Write),
    ) {
        match after.needs_alone() {
            false => project(residual, Write::Add),
            true => {
                let numbers = self.tokens() * self.decoder.config.hidden_size;
                branch.resize(numbers, 0.0);
                normed.resize(numbers, 0.0);
                project(branch, Write::Store);
                self.add_normed(after.norm, residual, branch, normed);
            }
        }
        if let Some(bottleneck) = after.bottleneck {
            let given = (!bottleneck.reads_stream).then_some(normed.as_slice());
            bottleneck.add(self.team, residual, given);
        }
    }

    /// Norms what a part gave, where there is a norm, and adds it.
    fn add_normed(
        &self,
        norm: Option<&[f32]>,
        residual: &mut [f32],
        branch: &[f32],
        normed: &mut [f32],
    ) {
        let hidden = self.decoder.config.hidden_size;
        let epsilon = self.decoder.config.rms_norm_eps;
        let (residual, normed) = (SharedMut::new(residual), SharedMut::new(normed));
        self.each_row(self.tokens(), &|row| {
            let x = &branch[row * hidden..][..hidden];
            // SAFETY: this row belongs to this task.
            let (out, sum) = unsafe {
                (
                    normed.slice(row * hidden, hidden),
                    residual.slice(row * hidden, hidden),
                )
            };
            match norm {
                Some(norm) => rms_norm(self.team.isa(), x, norm, epsilon, out),
                None => out.copy_from_slice(x),
            }
            sum.iter_mut().zip(out).for_each(|(sum, x)| *sum += *x);
        });
    }
}
