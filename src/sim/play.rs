//! Plays a scenario: deploys the Rollout, updates it, lets happen what is to happen, and tells the story.

mod director;
mod interference;
mod verdict;

use self::director::Director;
use super::{
    api::kinds::{Key, Kind},
    cast::{Cast, next_image},
    dice::Range,
    models::{Timing, people::Verb, text, truth::Source},
    scenario::{Patience, Scenario, Span, Takes},
    timeline::{Act, Frame, Outcome, Recorder, Story, Totals, Versions, frame, since},
    world::{Options, World},
};
use crate::{json::At as _, traffic::gateway_api::config::PLUGIN};
use jiff::Timestamp;
use serde_json::Value;
use std::time::Duration;

/// The first deployment must be healthy within this time.
const DEPLOY_MAX: Duration = Duration::from_secs(3600);
/// What cannot become healthy is given up after this time without a change for the better.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
/// Between the first deployment and the update.
const QUIET_BEFORE: Duration = Duration::from_secs(60);
/// After the update is over, the old pods get this long to go.
const AFTERMATH_MAX: Duration = Duration::from_secs(180);
/// Longest time simulated when the scenario does not say.
const LASTS: Duration = Duration::from_secs(6 * 3600);
/// A person approves a pause after this time when nobody says otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Frames kept; a rollout that changes more often is cut off here.
const FRAMES_MAX: usize = 20_000;

/// Why a scenario cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// The runtime cannot be made.
    #[error("failed to set up the simulation: {0}")]
    Runtime(#[from] std::io::Error),
    /// An object is refused.
    #[error("{object} is refused: {why}")]
    Refused {
        /// Which.
        object: String,
        /// Why.
        why: String,
    },
    /// Even the version before the update does not run.
    #[error("the version before the update does not become healthy: {0}")]
    NotDeployed(String),
    /// The update is refused or changes nothing.
    #[error("the update is not possible: {0}")]
    NoUpdate(String),
}

/// Plays `scenario` with these objects. With `slowest`, everything takes as long as it may, analyses too.
pub fn play(cast: &Cast, scenario: &Scenario, slowest: bool) -> Result<Story, PlayError> {
    let mut stage = Stage::set(cast, scenario, slowest)?;
    stage.deploy()?;
    stage.update(scenario)?;
    stage.run(scenario);
    Ok(stage.story(cast, scenario))
}

struct Stage {
    world: World,
    rollout: Key,
    recorder: Recorder,
    director: Director,
    versions: Versions,
    images: (String, String),
    zero: Timestamp,
    story: Story,
    /// Requests and failures so far.
    requests: (f64, f64),
    last: Frame,
    degraded_since: Option<Timestamp>,
    held_since: Option<Timestamp>,
}

impl Stage {
    fn set(cast: &Cast, scenario: &Scenario, slowest: bool) -> Result<Self, PlayError> {
        let controllers = scenario.controllers.unwrap_or(1).max(1);
        let mut world = World::new(Options {
            seed: scenario.seed.unwrap_or(1),
            replicas: controllers,
            args: (controllers > 1).then(Options::args_elected),
            timing: timing(&scenario.takes, slowest),
            ..Options::default()
        })?;
        if slowest {
            world.truth(|truth| truth.source = Source::Slow);
        }
        world.truth(|truth| truth.values.clone_from(&scenario.values));
        for object in cast.others.iter().chain([&cast.rollout]) {
            let named = format!("{} {}", text(object, "/kind"), text(object, "/metadata/name"));
            world.create(object.clone()).map_err(|refused| PlayError::Refused {
                object: named,
                why: refused.message.clone(),
            })?;
        }
        if let Some(entry) = &cast.entry {
            world.enter_through(entry.clone());
        }
        let rollout = &cast.rollout;
        let key = Key::new(
            Kind::Rollout,
            text(rollout, "/metadata/namespace"),
            text(rollout, "/metadata/name"),
        );
        let recorder = Recorder::default();
        let noting = recorder.clone();
        world.observe(move |commit, _| noting.note(commit));
        let mut director = Director::new(scenario);
        director.take_hold(&world);
        Ok(Self {
            director,
            zero: world.now(),
            world,
            rollout: key,
            recorder,
            versions: Versions::default(),
            images: (image(&cast.pod_template().cloned().unwrap_or_default()), String::new()),
            story: Story::default(),
            requests: (0.0, 0.0),
            last: Frame::default(),
            degraded_since: None,
            held_since: None,
        })
    }

    fn status(&self, field: &str) -> String {
        let rollout = self.world.get(&self.rollout);
        rollout.map_or_else(String::new, |rollout| {
            text(&rollout, &format!("/status/{field}")).to_owned()
        })
    }

    fn deploy(&mut self) -> Result<(), PlayError> {
        self.world.start_all();
        let key = self.rollout.clone();
        let phase = |world: &World| {
            world
                .get(&key)
                .map_or_else(String::new, |rollout| text(&rollout, "/status/phase").to_owned())
        };
        let mut degraded: Option<Timestamp> = None;
        let healthy = self.world.run_until(DEPLOY_MAX, |world| {
            let phase = phase(world);
            degraded = (phase == "Degraded").then(|| degraded.unwrap_or_else(|| world.now()));
            let given_up = degraded.is_some_and(|since| world.now() >= super::models::later(since, GIVE_UP_AFTER));
            phase == "Healthy" || given_up
        });
        if !healthy || self.status("phase") != "Healthy" {
            let message = self.status("message");
            return Err(PlayError::NotDeployed(if message.is_empty() {
                self.status("phase")
            } else {
                message
            }));
        }
        self.world.run_for(QUIET_BEFORE);
        self.versions.stable = self.status("stableRS");
        Ok(())
    }

    fn update(&mut self, scenario: &Scenario) -> Result<(), PlayError> {
        let update = &scenario.update;
        self.zero = self.world.now();
        self.recorder.begin(self.zero);
        self.world.traffic().forget_losses();
        let mut verbs: Vec<Verb> = update.patch.iter().cloned().map(Verb::Patch).collect();
        let (container, wanted) = match update
            .image
            .as_deref()
            .map(|image| image.split_once('=').unwrap_or(("*", image)))
        {
            Some((container, image)) => (container, Some(image.to_owned())),
            None => ("*", verbs.is_empty().then(|| next_image(&self.images.0))),
        };
        verbs.extend(wanted.map(|image| Verb::SetImage {
            container: container.to_owned(),
            image,
        }));
        for verb in verbs {
            self.act(&verb).map_err(PlayError::NoUpdate)?;
        }
        let (key, stable) = (self.rollout.clone(), self.versions.stable.clone());
        let changed = self.world.run_until(Duration::from_secs(30), |world| {
            world.get(&key).is_some_and(|rollout| {
                let current = text(&rollout, "/status/currentPodHash");
                !current.is_empty() && current != stable
            })
        });
        if !changed {
            return Err(PlayError::NoUpdate("the pod template stays the same".to_owned()));
        }
        if let Some(rollout) = self.world.get(&self.rollout) {
            self.images.1 = self.image(&rollout);
        }
        Ok(())
    }

    /// The image that a Rollout is to run, its own or that of the Deployment it refers to.
    fn image(&self, rollout: &Value) -> String {
        let (named, namespace) = (
            text(rollout, "/spec/workloadRef/name"),
            text(rollout, "/metadata/namespace"),
        );
        let template = |object: &Value| object.at("/spec/template").cloned().unwrap_or_default();
        let deployment = self.world.get(&Key::new(Kind::Deployment, namespace, named));
        image(&template(
            deployment.as_deref().filter(|_| !named.is_empty()).unwrap_or(rollout),
        ))
    }

    /// A person does something; noted, and returned when it is refused.
    fn act(&mut self, verb: &Verb) -> Result<(), String> {
        let result = self.world.act(&self.rollout, verb);
        self.story.acts.push(Act {
            at: since(self.zero, self.world.now()),
            does: verb.to_string(),
            refused: result.clone().err(),
        });
        result
    }

    fn run(&mut self, scenario: &Scenario) {
        let lasts = scenario.lasts.map_or(LASTS, |Span(lasts)| lasts);
        let end = super::models::later(self.zero, lasts);
        loop {
            self.look();
            for verb in self
                .director
                .due(&mut self.world, self.zero, &self.last, &self.versions)
            {
                // What is refused is in the story.
                let _ = self.act(&verb);
            }
            self.approve(scenario);
            let now = self.world.now();
            if let Some(outcome) = self.outcome(now) {
                self.story.outcome = outcome;
                return;
            }
            if now >= end || self.story.frames.len() >= FRAMES_MAX {
                return;
            }
            let until = self
                .next_moment(scenario)
                .unwrap_or(end)
                .min(end)
                .max(super::models::later(now, Duration::from_millis(1)));
            self.step(until);
        }
    }

    fn next_moment(&self, scenario: &Scenario) -> Option<Timestamp> {
        let approval = self.approval(scenario);
        let grace = self
            .degraded_since
            .or(self.held_since)
            .map(|since| super::models::later(since, GIVE_UP_AFTER));
        let over = self.over_at().map(|at| super::models::later(at, AFTERMATH_MAX));
        let moments = [self.director.next(self.zero), approval, grace, over];
        moments.into_iter().flatten().filter(|at| *at > self.world.now()).min()
    }

    fn step(&mut self, until: Timestamp) {
        let before = self.world.now();
        let flow = self.world.handle().truth_now(|truth| truth.flow().cloned());
        let after = self.world.step(until).now;
        let seconds = after.duration_since(before).as_secs_f64();
        if let Some(flow) = flow {
            let requests: f64 = flow.streams.values().map(|stream| stream.requests).sum();
            let failed: f64 = flow
                .streams
                .values()
                .map(|stream| stream.requests * stream.errors)
                .sum();
            self.requests.0 += (requests + flow.lost) * seconds;
            self.requests.1 += (failed + flow.lost) * seconds;
        }
    }

    /// Takes a frame, and notes what is new in it.
    fn look(&mut self) {
        let current = self.status("currentPodHash");
        if !current.is_empty() && current != self.versions.stable {
            self.versions.new = current;
        }
        let now = self.world.now();
        let at = since(self.zero, now);
        let frame = frame(
            &self.world.api().state(),
            self.world.traffic(),
            &self.rollout,
            &self.versions,
            at,
        );
        let totals = &mut self.story.totals;
        totals.peak_pods = totals.peak_pods.max(frame.pods());
        totals.least_ready = match self.story.frames.is_empty() {
            true => frame.ready(),
            false => totals.least_ready.min(frame.ready()),
        };
        totals.peak_share = totals.peak_share.max(frame.share);
        self.note_progress(&frame, at);
        self.degraded_since = (frame.phase == "Degraded").then(|| self.degraded_since.unwrap_or(now));
        if self.story.frames.last().is_none_or(|last| !last.looks_like(&frame)) {
            self.story.frames.push(frame.clone());
        }
        self.last = frame;
    }

    fn note_progress(&mut self, frame: &Frame, at: f64) {
        let Some(rollout) = self.world.get(&self.rollout) else {
            return;
        };
        let aborted = rollout.at("/status/abort") == Some(&Value::Bool(true));
        let replicas = super::models::number(&rollout, "/spec/replicas").unwrap_or(1);
        let stable = text(&rollout, "/status/stableRS");
        let totals: &mut Totals = &mut self.story.totals;
        if aborted && totals.aborted_at.is_none() {
            totals.aborted_at = Some(at);
            // An abort takes the step back; what counts is where it was.
            totals.caught_at_step = self.last.step;
        }
        if !aborted {
            // Retried: what was rolled back before is not the end.
            totals.rolled_back_after = None;
            if totals.promoted_after.is_none() && frame.phase == "Healthy" && stable == self.versions.new {
                totals.promoted_after = Some(at);
            }
        }
        let back = frame.share <= 0.0 && frame.lost <= 0.0 && frame.stable.ready >= replicas;
        if aborted && back && totals.rolled_back_after.is_none() {
            let began = self.director.began().or(totals.aborted_at).unwrap_or(0.0);
            totals.rolled_back_after = Some((at - began).max(0.0));
        }
    }

    /// When the update was over, if it is.
    fn over_at(&self) -> Option<Timestamp> {
        let totals = &self.story.totals;
        let rolled_back = totals
            .rolled_back_after
            .map(|after| after + self.director.began().or(totals.aborted_at).unwrap_or(0.0));
        let at = totals.promoted_after.or(rolled_back)?;
        Some(super::models::later(
            self.zero,
            Duration::try_from_secs_f64(at).unwrap_or_default(),
        ))
    }

    fn outcome(&self, now: Timestamp) -> Option<Outcome> {
        if self.director.is_busy() {
            return None;
        }
        let waited =
            |since: Option<Timestamp>| since.is_some_and(|since| now >= super::models::later(since, GIVE_UP_AFTER));
        if let Some(over) = self.over_at() {
            let promoted = self.story.totals.promoted_after.is_some();
            let left = if promoted {
                self.last.stable.there
            } else {
                self.last.new.there
            };
            let settled = left == 0 && self.last.other.there == 0;
            let outcome = if promoted {
                Outcome::Promoted
            } else {
                Outcome::RolledBack
            };
            return (settled || now >= super::models::later(over, AFTERMATH_MAX)).then_some(outcome);
        }
        if waited(self.degraded_since) {
            return Some(Outcome::Degraded(self.last.message.clone()));
        }
        waited(self.held_since).then(|| Outcome::Held(self.last.message.clone()))
    }

    /// When a person approves the present pause.
    fn approval(&self, scenario: &Scenario) -> Option<Timestamp> {
        let rollout = self.world.get(&self.rollout)?;
        let (since, reason) = super::models::people::waits(&rollout)?;
        let patience = scenario.approve_pauses_after.unwrap_or(Patience::After(PATIENCE));
        match patience {
            // An analysis without a result is no reason to go on.
            Patience::After(patience) if !reason.starts_with("Inconclusive") => {
                Some(super::models::later(since, patience))
            }
            Patience::After(_) | Patience::Never => None,
        }
    }

    fn approve(&mut self, scenario: &Scenario) {
        let now = self.world.now();
        let rollout = self.world.get(&self.rollout);
        let waits = rollout.is_some_and(|rollout| super::models::people::waits(&rollout).is_some());
        match self.approval(scenario) {
            Some(at) if at <= now => {
                self.held_since = None;
                let _ = self.act(&Verb::Promote);
            }
            Some(_) => self.held_since = None,
            None => self.held_since = waits.then(|| self.held_since.unwrap_or(now)),
        }
    }

    fn story(mut self, cast: &Cast, scenario: &Scenario) -> Story {
        let (decisions, analyses) = self.recorder.take();
        let mut story = std::mem::take(&mut self.story);
        story.rollout.clone_from(&self.rollout.name);
        story.strategy = strategy(&cast.rollout);
        (story.from, story.to) = self.images.clone();
        story.seed = scenario.seed.unwrap_or(1);
        story.supplied.clone_from(&cast.supplied);
        story.notes = cast
            .left_out
            .iter()
            .map(|left| format!("{left} takes no part and was left out"))
            .collect();
        story.decisions = decisions;
        story.analyses = analyses;
        story.faults = self.director.spans();
        {
            let seen = self.world.traffic().lock();
            story.totals.lost_requests = seen.lost_requests;
            story.totals.first_loss = seen
                .first_loss
                .clone()
                .map(|(at, service)| (since(self.zero, at), service));
        }
        if self.requests.0 > 0.0 {
            story.totals.failed_share = self.requests.1 / self.requests.0;
        }
        story.expectations = scenario
            .expect
            .iter()
            .map(|expected| verdict::check(expected, &story))
            .collect();
        story
    }
}

fn image(template: &Value) -> String {
    text(template, "/spec/containers/0/image").to_owned()
}

fn strategy(rollout: &Value) -> String {
    let has = |pointer: &str| rollout.at(pointer).is_some_and(|found| !found.is_null());
    let plugins = rollout.at("/spec/strategy/canary/trafficRouting/plugins");
    let gateway = plugins.is_some_and(|plugins| plugins.get(PLUGIN).is_some());
    match () {
        () if has("/spec/strategy/blueGreen") => "blue-green",
        () if has("/spec/strategy/canary/trafficRouting/nginx") => "canary through nginx",
        () if gateway => "canary through Gateway API",
        () => "canary by pods",
    }
    .to_owned()
}

fn timing(takes: &Takes, slowest: bool) -> Timing {
    let mut timing = Timing::default();
    let always = |span: Option<Span>, of: &mut Range| {
        if let Some(Span(span)) = span {
            *of = Range {
                shortest: span,
                longest: span,
            };
        }
    };
    always(takes.pod_start, &mut timing.pod_start);
    always(takes.pod_end, &mut timing.pod_end);
    always(takes.data_plane, &mut timing.data_plane);
    always(takes.job, &mut timing.jobs);
    always(takes.metrics, &mut timing.metrics);
    if slowest { timing.slowest() } else { timing }
}

#[cfg(test)]
mod tests;
