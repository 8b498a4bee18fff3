"""Faults in what stands around an optimizer, in schedules, batches in parts and the search for a rate."""

WRAPPERS = "optimizers/test_wrappers.py -k 'not libraries and not every_library and not torchs'"
CLIPPING = "optimizers/test_wrappers.py -k 'torchs and frozen'"
MUON = "optimizers/test_wrappers.py -k muon"
EMA = "training/test_ema.py -k 'not torch and not jax and not device1'"
PLATEAU = "optimizers/test_schedules.py -k 'plateau or warmup or exponential'"
RATES = "optimizers/test_rates_of_a_training.py optimizers/test_schedules.py -k 'not torch'"
PARTS = "training/test_accumulate.py -k 'classes or weights or goes_on or layers_see or norm'"
SEARCH = "model/test_rate_search.py -k 'not command and not chart'"
MEMORY = "program/test_program_training_kit.py -k takes_the_memory"
COMMAND = "cli/test_cli_training_kit.py"

FAULTS = [
    ("optimizers/ema.py", "a + forgotten * (p - a)", "p + forgotten * (a - p)", EMA),
    ("optimizers/ema.py", '(1.0 + updates) / (10.0 + updates)', '(1.0 + updates) / (11.0 + updates)', EMA),
    ("optimizers/ema.py", "xp.where(warming < self.decay, warming, self.decay)", "self.decay", EMA),
    ("optimizers/ema.py", "average = trained_part(self.optimizer, params)", "average = params", WRAPPERS),
    ("optimizers/evaluated.py", "return replaced(params, optimizer_state.get(EVALUATED, {}))", "return params", EMA),
    ("optimizers/evaluated.py", "replaced(evaluated_params, apart.trained), {", "evaluated_params, {", EMA),
    ("optimizers/clip_norm.py", "if path not in frozen}", "}", CLIPPING),
    ("optimizers/clip_norm.py", "xp.where(scale < 1.0, scale, xp.ones_like(scale))", "scale", CLIPPING),
    ("optimizers/lookahead.py", "s + self.share * (f - s)", "f + self.share * (s - f)", WRAPPERS),
    ("optimizers/lookahead.py", "[xp.where(due, s, f) for f, s in zip(leaves(fast), slow, strict=True)]", "leaves(fast)", WRAPPERS),
    ("optimizers/lookahead.py", "xp.where(due, xp.zeros_like(updates), updates)", "updates", WRAPPERS),
    ("optimizers/lookahead.py", "updates >= float", "updates == float", WRAPPERS),
    ("optimizers/lookahead.py", "if updates < self.steps:", "if False:", WRAPPERS),
    ("optimizers/wrapper.py", "self.optimizer.check_length(updates)", "pass", WRAPPERS),
    ("optimizers/muon.py", "g + self.momentum * m, self.iterations", "m, self.iterations", MUON),
    ("optimizers/muon.py", "max(1.0, outputs / inputs) ** 0.5", "1.0", MUON),
    ("optimizers/muon.py", "ops.matmul(x, x.T) if is_wide else ops.matmul(x.T, x)", "ops.matmul(x.T, x)", MUON),
    ("optimizers/muon.py", "(int(name) if name.isdecimal() else -1, name)", "(-1, name)", MUON),
    ("optimizers/muon.py", "_checked_paths(self.head)", "tuple(self.head)", "optimizers/test_wrappers.py -k wrong"),
    ("optimizers/muon.py", "replace(self, head=self._head(params))", "self", MUON),
    ("optimizers/schedules.py", "self.factor ** (step / self.every)", "self.factor ** (step // self.every)", PLATEAU),
    ("optimizers/schedules.py", "min(step / self.steps, 1.0)", "min((step + 1) / self.steps, 1.0)", PLATEAU),
    ("optimizers/schedules.py", "known_after(self.schedule, records, steps))", "self.schedule)", PLATEAU),
    ("training/plateau.py", "                waited += 1\n", "                waited += 1 if waited else 2\n", PLATEAU),
    ("training/plateau.py", "                waited = 0\n                rate", "                rate", PLATEAU),
    ("training/plateau.py", "rates[min(step // steps, len(records))]", "rates[len(records)]", PLATEAU),
    ("training/loop.py", "known = self.state.records, course.steps", "known = (), course.steps", "training/test_plateau.py"),
    ("training/step.py", "loss_of_batch(loss, *given, batch.whole)", "loss_of_batch(loss, *given)", PARTS),
    ("training/step.py", "indices=random.indices[one.rows]", "indices=random.indices[: one.rows.stop - one.rows.start]", PARTS),
    ("training/step.py", "None if self.weights is None else self.weights[where]", "None if self.weights is None else self.weights[: where.stop - where.start]", PARTS),
    ("training/step.py", "        state = part.state\n", "", PARTS),
    ("program/passes/loops.py", "if micro_batch_of(root.target) != micro_batch_of(step.roots[0].target):", "if False:", MEMORY),
    ("program/passes/buffers.py", "may_wait = part and", "may_wait = False and", MEMORY),
    ("program/steps.py", "recorder().micro_batch += 1", "pass", MEMORY),
    ("training/state.py", "if state.accumulate != accumulate:", "if False:", PARTS),
    ("model/accumulating.py", "and not _is_frozen(path, params, frozen)", "", PARTS),
    ("model/rate_search.py", "trial.network, trial.loss = copied(model.network), copied(model.loss)", "pass", SEARCH),
    ("model/rate_search.py", "    trial = copy.copy(model)", "    trial = model", SEARCH),
    ("model/rate_search.py", "slopes = np.gradient(smoothed, np.log(rates))", "slopes = np.gradient(smoothed, rates)", SEARCH),
    ("model/rate_search.py", "step / (self.steps - 1)", "step / self.steps", SEARCH),
    ("model/rate_search.py", "mean > _highest(self._lowest, self._first)", "False", SEARCH),
    ("cli/training_kit.py", 'Lookahead(optimizer, given["lookahead"])', "Lookahead(optimizer)", COMMAND),
    ("model/rate_search.py", "else max(-lowest, abs(first))", "else lowest", SEARCH),
    ("model/rate_search.py", "if first - bottom <= 2.0", "if first - bottom <= 0.0", SEARCH),
    ("optimizers/schedules.py", "return self.steps < total_steps", "return self.steps <= total_steps", RATES),
    ("optimizers/schedules.py", "check_length(self.schedule, total_steps)", "pass", RATES),
    ("optimizers/schedules.py", "if isinstance(rate, type):", "if False:", RATES),
    ("model/inputs.py", "wrong = [one for one in found if isinstance(one, type) or", "wrong = [one for one in found if", "callbacks/test_callbacks.py -k no_callback"),
    ("optimizers/schedules.py", "if factor > 1.0:", "if False:", RATES),
    ("optimizers/optimizer.py", "for step in (0, total - 1):", "for step in (0,):", RATES),
    ("optimizers/optimizer.py", "    if not is_resumed:\n", "    if True:\n", RATES),
    ("optimizers/optimizer.py", "        check_length(schedule, total)\n", "        pass\n", RATES),
    ("cli/training_kit.py", "part * steps / epochs", "part * steps", COMMAND),
    ("cli/training_kit.py", "if is_asked and not rising", "if False and not rising", COMMAND),
    ("cli/training_kit.py", "min(warmup, epochs) if is_asked", "warmup if is_asked", COMMAND),
    ("cli/training_kit.py", "return is_new or any(", "return is_new or all(", COMMAND),
    ("cli/training_kit.py", "return is_new or any(", "return True or any(", COMMAND),
    ("cli/training_kit.py", 'given["accumulate"] > 1 and', "False and", COMMAND),
    ("cli/train.py", 'training_kit.check_accumulate(tuned["accumulate"], batch_size)', "pass", COMMAND),
    ("storage/run_folder.py", "if steps_done() == before and", "if", COMMAND),
    ("storage/run_folder.py", "for folder in self._made:", "for folder in (self.path,):", COMMAND),
    ("storage/run_folder.py", "                self._discard()", "                pass", COMMAND),
    ("storage/run_folder.py", "            shutil.rmtree(self.events, ignore_errors=True)\n", "", COMMAND),
    ("cli/training_kit.py", "patience <= PLATEAU_EPOCHS", "False", COMMAND),
]  # fmt: skip
